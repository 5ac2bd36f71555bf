//! An org as a file: written, compared, applied, and its snapshots made anew.

use tocsin_testkit::eventually;
use tocsin_tests::Stack;
use tocsin_wire::Service;

use crate::support::{RECOVERY, stack};

const PLAN: [&str; 4] = ["config", "plan", "-", "--colour=never"];
const APPLY: [&str; 4] = ["config", "apply", "-", "--colour=never"];

/// What it printed; it must end with `status`.
async fn run(stack: &Stack, arguments: &[&str], file: &str, status: i32) -> String {
    let printed = stack.tocsin(arguments, file.as_bytes()).await;
    let printed = printed.expect("it runs");
    assert_eq!(printed.status, Some(status), "{arguments:?}: {printed:?}");
    printed.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_is_kept_in_a_file_and_its_snapshots_can_be_rebuilt() {
    let (stack, teams) = stack("config-files", 2).await;
    let export = ["config", "export", "--org", "acme"];
    let file = run(&stack, &export, "", 0).await;
    run(&stack, &PLAN, &file, 0).await;

    let (old, new) = (teams[1].channel.as_str(), "C0MOVED");
    let wanted = file.replace(old, new);
    let plan = run(&stack, &PLAN, &wanted, 2).await;
    assert!(plan.contains(old) && plan.contains(new), "{plan}");
    assert!(!plan.contains(&teams[0].channel), "{plan}");
    run(&stack, &APPLY, &wanted, 0).await;
    run(&stack, &PLAN, &wanted, 0).await;
    assert_eq!(run(&stack, &export, "", 0).await, wanted);

    let broken = wanted.replace("acme", "Acme");
    let refused = stack.tocsin(&APPLY, broken.as_bytes()).await;
    assert!(!refused.expect("it runs").success);

    let key = format!("acme.{}", teams[0].name);
    let clock = tocsin_testkit::bus::clock();
    let config = tocsin_bus::Bus::connect(stack.bus_settings(), Service::Config, "tests", clock);
    let bucket = config.await.expect("connects").bucket("teams");
    eventually("the team's snapshot", RECOVERY, || async {
        matches!(bucket.get(&key).await, Ok(Some(_)))
    })
    .await;
    bucket.delete(&key).await.expect("deletes");
    let rebuilt = run(&stack, &["config", "rebuild"], "", 0).await;
    assert!(rebuilt.contains("0 identifiers, 1 teams"), "{rebuilt}");
    let entry = bucket.get(&key).await.expect("reads");
    assert!(entry.is_some(), "it is there again");
}
