//! Frames that are sent without a pause while something else goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::eventually;
use crate::raw::Injector;

/// A barrage that is under way.
#[derive(Debug)]
pub struct Barrage {
    frames: u64,
    sent: AtomicU64,
    over: AtomicBool,
}

impl Barrage {
    /// Sends these frames in turn for as long as `trouble` lasts.
    ///
    /// # Panics
    /// When an interface does not take a frame.
    pub fn during(frames: &[(&Injector, &[u8])], trouble: impl FnOnce(&Self)) {
        let barrage = Self {
            frames: u64::try_from(frames.len()).expect("a few frames"),
            sent: AtomicU64::new(0),
            over: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            // Ends the sender when `trouble` panics, too.
            let _end = OnDrop(&barrage.over);
            scope.spawn(|| {
                while !barrage.over.load(Ordering::Relaxed) {
                    for (injector, frame) in frames {
                        injector.send(frame).expect("the interface is up");
                        barrage.sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            trouble(&barrage);
        });
    }

    /// How many frames have been sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until each frame was sent so many times after `before` frames.
    #[track_caller]
    pub fn go_on(&self, before: u64, rounds: u64) {
        eventually!(self.sent() > before + rounds * self.frames);
    }
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
