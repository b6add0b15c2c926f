//! A process that can be made to stand still, as SIGSTOP does it: nothing of it runs, while time, its disk, its kernel's
//! side of connections and its peers go on. Whatever came meanwhile is there when it goes on, and its timers are late.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use tokio::task::LocalSet;

/// Whether a process stands still: whoever keeps this says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Still(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    still: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Still {
    /// From now on it does.
    pub(super) fn stand(&self) {
        self.0.still.set(true);
    }

    /// It goes on.
    pub(super) fn go_on(&self) {
        self.0.still.set(false);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Runs a process, with all local tasks that it begins.
    pub(super) async fn run<T>(&self, process: impl Future<Output = T>) -> T {
        let tasks = LocalSet::new();
        let mut process = pin!(tasks.run_until(process));
        poll_fn(|cx| {
            *self.0.waker.borrow_mut() = Some(cx.waker().clone());
            if self.0.still.get() { Poll::Pending } else { process.as_mut().poll(cx) }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::task::spawn_local;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn nothing_of_it_runs_and_its_timers_are_late() {
        let (still, ticks) = (Still::default(), Rc::new(Cell::new(0)));
        let (this, seen) = (still.clone(), ticks.clone());
        let begun = Instant::now();
        let outside = async {
            sleep(Duration::from_millis(35)).await;
            assert_eq!(ticks.get(), 3);
            still.stand();
            sleep(Duration::from_secs(5)).await;
            assert_eq!(ticks.get(), 3);
            still.go_on();
        };
        let process = this.run(async move {
            let task = spawn_local(async move {
                for _ in 0..5 {
                    sleep(Duration::from_millis(10)).await;
                    seen.set(seen.get() + 1);
                }
            });
            task.await.unwrap();
        });
        tokio::join!(process, outside);
        assert_eq!((ticks.get(), begun.elapsed().as_millis()), (5, 5_045));
    }
}
