use std::ffi::CString;

use axum::extract::{Extension, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hns_hcn::ErrorCode;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::answer::Refusal;
use crate::api::Api;

/// Who may do what, by the credentials of the process at the other end of the socket.
#[derive(Debug, Clone)]
pub struct Access {
    /// May read and write, beside root and the user the daemon runs as.
    pub write_group: String,
    /// May read.
    pub read_group: String,
}

/// The process at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    None,
    Read,
    Write,
}

impl Access {
    fn of(&self, peer: Peer) -> Right {
        if peer.uid == 0 || Uid::current().as_raw() == peer.uid {
            return Right::Write;
        }
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

pub(crate) async fn authorise(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let needed = if request.method() == Method::GET { Right::Read } else { Right::Write };
    if api.access.of(peer) >= needed {
        return next.run(request).await;
    }
    let group = if needed == Right::Read { &api.access.read_group } else { &api.access.write_group };
    let (verb, uid) = (if needed == Right::Read { "read" } else { "change anything" }, peer.uid);
    Refusal::new(ErrorCode::ACCESS_DENIED, format!("user {uid} may not {verb}"))
        .with_hint(format!("be root or a member of group {group}"))
        .into_response()
}
