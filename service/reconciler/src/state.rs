//! Looking after the records while the daemon runs.

use hns_store::Store;

/// Counts ticks; knows no clock.
#[derive(Debug, Default)]
pub(crate) struct StateWatch {
    is_lost: bool,
}

impl StateWatch {
    /// Tells the log when the records go away under us, and when they are back. Requests find out by themselves.
    pub fn tick(&mut self, store: &dyn Store) {
        match (store.verify(), self.is_lost) {
            (Err(error), false) => {
                let hint = error.hint().unwrap_or_default();
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the state is lost; changes are refused, what exists goes on to work; {hint}"
                );
                self.is_lost = true;
            }
            (Ok(()), true) => {
                tracing::info!("the state is back");
                self.is_lost = false;
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
    }
}
