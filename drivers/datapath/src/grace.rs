//! Waiting until every program that runs now has ended.
#![expect(unsafe_code, reason = "no library has the call")]

use std::thread;
use std::time::Duration;

/// Of `enum membarrier_cmd` in `linux/membarrier.h`; before it waits for other threads' memory accesses, the kernel waits for
/// an RCU grace period, in which our programs run from beginning to end.
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// Longer than any program runs: they have no loop of more than 1,100 steps, and nothing interrupts them but the hardware.
const LONG: Duration = Duration::from_secs(1);

/// Takes some 10 ms.
pub(crate) fn wait() {
    // SAFETY: it takes three numbers and no memory.
    let outcome = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0_i64, 0_i64) };
    if outcome != 0 {
        nothing_to_wait_for();
    }
}

/// Kernels with processors that have no timer tick (nohz_full) lack the call.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
fn nothing_to_wait_for() {
    thread::sleep(LONG);
}
