use std::ffi::CString;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hns_hcn::ErrorCode;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::sync::Semaphore;

use crate::answer::Refusal;
use crate::api::Api;

/// How many users are looked up in the group database at one time. It may be a file, or a server far away; root is
/// known without it and never waits for it.
const LOOKUPS_AT_ONCE: usize = 2;

/// Who may do what, by the credentials of the process at the other end of the socket.
#[derive(Debug, Clone)]
pub struct Access {
    write_group: Arc<str>,
    read_group: Arc<str>,
    lookups: Arc<Semaphore>,
}

/// The process at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    None,
    Read,
    Write,
}

impl Access {
    /// Members of `write_group` may read and write, as may root and the user the daemon runs as; members of
    /// `read_group` may read.
    #[must_use]
    pub fn new(write_group: &str, read_group: &str) -> Self {
        Self {
            write_group: write_group.into(),
            read_group: read_group.into(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
        }
    }

    /// What a peer may do now. A user who has left a group loses its right with the next request.
    pub(crate) async fn right_of(&self, peer: Peer) -> Right {
        if peer.is_root() {
            return Right::Write;
        }
        let Ok(_turn) = self.lookups.acquire().await else { return Right::None };
        let access = self.clone();
        // The database is files and sockets of the C library's: no worker of the runtime waits for them.
        tokio::task::spawn_blocking(move || access.look_up(peer)).await.unwrap_or(Right::None)
    }

    fn look_up(&self, peer: Peer) -> Right {
        let groups = groups_of(peer);
        let is_member = |name: &str| {
            Group::from_name(name).ok().flatten().is_some_and(|group| groups.contains(&group.gid))
        };
        if is_member(&self.write_group) {
            Right::Write
        } else if is_member(&self.read_group) {
            Right::Read
        } else {
            Right::None
        }
    }

    /// What is said to a peer that may not do what takes this right.
    pub(crate) fn refusal(&self, peer: Peer, needed: Right) -> Refusal {
        let (group, verb) = match needed {
            Right::None | Right::Read => (&self.read_group, "read"),
            Right::Write => (&self.write_group, "change anything"),
        };
        Refusal::new(ErrorCode::ACCESS_DENIED, format!("user {} may not {verb}", peer.uid))
            .with_hint(format!("be root or a member of group {group}"))
    }
}

/// The peer's own group and those the group database puts its user into.
fn groups_of(peer: Peer) -> Vec<Gid> {
    let gid = Gid::from_raw(peer.gid);
    let user = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten();
    let name = user.and_then(|user| CString::new(user.name).ok());
    let mut groups = name.and_then(|name| getgrouplist(&name, gid).ok()).unwrap_or_default();
    groups.push(gid);
    groups
}

/// A trace is asked by a document, and changes nothing that packets meet, also where it follows them.
fn needed(request: &Request) -> Right {
    let reads = request.method() == Method::GET || request.uri().path() == "/v2/trace";
    if reads { Right::Read } else { Right::Write }
}

pub(crate) async fn authorise(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let needed = needed(&request);
    if api.access.right_of(peer).await >= needed {
        return next.run(request).await;
    }
    api.access.refusal(peer, needed).into_response()
}
