//! Looking after the records while the daemon runs.

use hns_store::Store;

/// Counts ticks; knows no clock.
#[derive(Debug, Default)]
pub(crate) struct StateWatch {
    is_lost: bool,
    is_saved: bool,
    ticks: u32,
}

/// How often a backup is made, in ticks; the first tick makes one, too.
const BACK_UP_EVERY: u32 = 24 * 60 * 60;

impl StateWatch {
    /// Keeps backups, and tells the log when the records go away under us and when they are back. Requests find out by
    /// themselves.
    pub fn tick(&mut self, store: &dyn Store) {
        match store.verify() {
            Err(error) => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    let hint = error.hint().unwrap_or_default();
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the state is lost; changes are refused, what exists goes on to work; {hint}"
                    );
                }
                self.save(store);
            }
            Ok(()) => {
                if std::mem::take(&mut self.is_lost) {
                    tracing::info!("the state is back");
                    self.is_saved = false;
                }
                if self.ticks == 0
                    && let Err(error) = store.back_up()
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the state has no new backup");
                }
                self.ticks = (self.ticks + 1) % BACK_UP_EVERY;
            }
        }
    }

    /// The files that we have open are all that is left, and go with us: what is in them becomes a backup, as soon as there
    /// is a folder for it, and again if that goes away, too.
    fn save(&mut self, store: &dyn Store) {
        match store.back_up() {
            Ok(()) => {
                if !std::mem::replace(&mut self.is_saved, true) {
                    tracing::info!("all that was recorded is in the backup");
                }
            }
            Err(error) => {
                self.is_saved = false;
                tracing::debug!(error = &error as &dyn std::error::Error, "the state cannot be saved yet");
            }
        }
    }
}
