use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use tocsin_testkit::{Process, Program, eventually};

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Process {
    Program::new("/bin/sh")
        .args(["-c", script])
        .start()
        .unwrap()
}

fn runs(pid: &str) -> bool {
    // A zombie that its new parent has not reaped yet is as dead.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[tokio::test]
async fn output_is_kept_and_waited_for() {
    let process = shell("echo one; echo two >&2; read -r never < /dev/zero");
    assert_eq!(process.wait_for_line("tw", SOON).await.unwrap(), "two");
    assert_eq!(process.last_lines(), ["one", "two"]);
    let kept = std::fs::read_to_string(process.log()).unwrap();
    assert_eq!(kept, "one\ntwo\n");
}

#[tokio::test]
async fn waiting_for_a_line_ends_with_the_process() {
    let process = shell("echo failed: no disk; exit 3");
    let error = process
        .wait_for_line("ready", SOON)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ended without") && error.contains("failed: no disk"),
        "{error}"
    );
    assert_eq!(process.wait(SOON).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn signals_reach_it() {
    let polite = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    polite.wait_for_line("up", SOON).await.unwrap();
    polite.terminate().unwrap();
    assert_eq!(polite.wait(SOON).await.unwrap().code(), Some(0));
    polite.wait_for_line("bye", SOON).await.unwrap();

    let deaf = shell("trap '' TERM; echo up; while :; do sleep 0.01; done");
    deaf.wait_for_line("up", SOON).await.unwrap();
    assert_eq!(deaf.kill_9().await.unwrap().signal(), Some(9));
    deaf.terminate().unwrap();
}

#[tokio::test]
async fn the_drop_kills_its_children_too() {
    let process = shell("sleep 1000 & echo child $!; wait");
    let line = process.wait_for_line("child", SOON).await.unwrap();
    let child = line.rsplit(' ').next().unwrap().to_owned();
    assert!(runs(&child));
    drop(process);
    eventually("the grandchild to die", SOON, || async { !runs(&child) }).await;
}

/// The test binary starts itself as a parent that is then killed without a chance to clean up.
#[tokio::test]
async fn a_killed_parent_takes_its_children_with_it() {
    let parent = Program::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "process::parent_for_the_kill_test",
        ])
        .start()
        .unwrap();
    let line = parent.wait_for_line("child ", SOON).await.unwrap();
    let child = line.rsplit(' ').next().unwrap().to_owned();
    assert!(runs(&child));
    parent.kill_9().await.unwrap();
    eventually("the orphan to die", SOON, || async { !runs(&child) }).await;
}

#[tokio::test]
#[ignore = "not a test: the parent that `a_killed_parent_takes_its_children_with_it` starts and kills"]
async fn parent_for_the_kill_test() {
    let child = Program::new("/bin/sleep").args(["1000"]).start().unwrap();
    println!("child {}", child.pid());
    // Long after the test that needs this has killed it.
    child.wait(Duration::from_secs(20)).await.unwrap_err();
}

#[tokio::test]
async fn usage_grows_with_work() {
    let process = shell("i=0; while :; do i=$((i+1)); done");
    eventually("some processor time", SOON, || async {
        process.cpu_time().unwrap() > Duration::from_millis(20)
    })
    .await;
    assert!(process.rss_bytes().unwrap() > 100_000);
    assert!(process.peak_rss_bytes().unwrap() >= process.rss_bytes().unwrap());
}
