use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes as many file descriptors as the daemon may have, and says how many those are.
///
/// What a process starts with, 1,024 mostly, is meant for programs that use select(2). Ports, maps, rules and
/// connections take theirs here, and connections must not be what the others are missing.
pub(crate) fn raise() -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of descriptors")?;
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(errno) => {
            tracing::warn!(
                error = &errno as &dyn std::error::Error,
                limit = soft,
                "the limit of descriptors stays"
            );
            soft
        }
    };
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}
