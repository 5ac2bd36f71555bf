use std::cell::Cell;
use std::time::Duration;

use tocsin_testkit::eventually;

#[tokio::test]
async fn asks_until_there_is_a_value() {
    let asked = Cell::new(0);
    let value = eventually("the third time", Duration::from_secs(5), || async {
        asked.set(asked.get() + 1);
        (asked.get() == 3).then_some("here")
    });
    assert_eq!((value.await, asked.get()), ("here", 3));
}

#[tokio::test]
#[should_panic(expected = "for a dial tone, in vain: the line is dead")]
async fn gives_up_with_the_last_reason() {
    let probe = || async { Err::<(), _>("the line is dead") };
    eventually("a dial tone", Duration::from_millis(50), probe).await;
}

#[tokio::test]
#[should_panic(expected = "eventually.rs")]
async fn a_probe_that_hangs_does_not_hang_the_test() {
    eventually(
        "nothing",
        Duration::from_millis(20),
        std::future::pending::<bool>,
    )
    .await;
}
