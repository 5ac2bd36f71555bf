//! Waiting for a condition instead of for a time.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

/// Most conditions come true within milliseconds, so the first looks are close together.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Looking more seldom later leaves the processor to what is being waited for.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What a probe may answer: `bool`, `Option<T>` or `Result<T, E>`; anything but true, `Some` and `Ok` means "not yet".
pub trait Answer {
    type Value;
    /// # Errors
    /// Why the condition does not hold yet, for the message of the failing test.
    fn answer(self) -> Result<Self::Value, String>;
}

impl Answer for bool {
    type Value = ();
    fn answer(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("it was false".to_owned())
        }
    }
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn answer(self) -> Result<T, String> {
        self.ok_or_else(|| "there was none".to_owned())
    }
}

impl<T, E: Display> Answer for Result<T, E> {
    type Value = T;
    fn answer(self) -> Result<T, String> {
        // The alternate form of anyhow's errors is the whole chain.
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Asks `probe` every 10 to 100 ms until it answers with a value, and returns that.
///
/// # Panics
/// After `limit`, naming `what`, the caller's line and the last reason. A probe that hangs counts as "not yet".
#[track_caller]
pub fn eventually<A, F, P>(
    what: &str,
    limit: Duration,
    mut probe: P,
) -> impl Future<Output = A::Value>
where
    A: Answer,
    F: Future<Output = A>,
    P: FnMut() -> F,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut pause = FIRST_PAUSE;
        let mut reason = "it was never asked".to_owned();
        loop {
            match tokio::time::timeout_at(deadline, probe())
                .await
                .map(Answer::answer)
            {
                Ok(Ok(value)) => return value,
                Ok(Err(not_yet)) => reason = not_yet,
                Err(_elapsed) => {
                    give_up(what, limit, &format!("no answer; before: {reason}"), caller)
                }
            }
            if Instant::now() + pause > deadline {
                give_up(what, limit, &reason, caller);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[expect(clippy::panic, reason = "a test that waited in vain has failed")]
fn give_up(what: &str, limit: Duration, reason: &str, caller: &Location<'_>) -> ! {
    panic!("{caller}: waited {limit:?} for {what}, in vain: {reason}");
}
