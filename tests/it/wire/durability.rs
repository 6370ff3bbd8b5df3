//! What was answered stays true, whatever happens to the process.

use libtest_mimic::Trial;
use serde_json::json;

use super::iam::{Iam, account_path, email, key_path, keys_path, list_path};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("durability::everything_answered_survives_a_kill", survives),
        trial("durability::concurrent_creates_never_pass_the_limit", limit_holds),
    ]
}

async fn survives() {
    let iam = Iam::start(&[]);
    let account = iam.account("billing").await;
    let (key, file) = iam.key(&email("billing")).await;
    let (disabled, _) = iam.key(&email("billing")).await;
    iam.post(&format!("{}:disable", key_path(&disabled)), json!({})).await.ok();
    let keys = iam.get(&list_path(&email("billing"))).await.ok();
    let token = iam.bearer().await.to_owned();
    let admin = iam.admin();

    let iam = iam.kill_and_restart();
    assert_eq!(iam.admin().private_key_id(), admin.private_key_id(), "no second admin key");
    let answer = iam.call_as(&token, reqwest::Method::GET, &account_path(&email("billing")), None).await;
    assert_eq!(answer.ok(), account, "the access token is still known");
    assert_eq!(iam.get(&list_path(&email("billing"))).await.ok(), keys);
    iam.exchange(&file).await.ok();
    iam.delete(&key_path(&key)).await.ok();

    let iam = iam.kill_and_restart();
    let left = iam.get(&list_path(&email("billing"))).await.ok();
    assert_eq!(left["keys"].as_array().unwrap().len(), 1);
    assert_eq!(left["keys"][0]["name"], disabled["name"]);
    assert_eq!(left["keys"][0]["disabled"], true);
}

async fn limit_holds() {
    let iam = Iam::start(&["--key-limit", "3"]);
    iam.account("billing").await;
    iam.bearer().await;
    let path = keys_path(&email("billing"));
    let calls = (0..8).map(|_| iam.post(&path, json!({})));
    let answers = futures::future::join_all(calls).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 3);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.error(400, "FAILED_PRECONDITION");
    }
    let kept = list_path(&email("billing"));
    assert_eq!(iam.get(&kept).await.ok()["keys"].as_array().unwrap().len(), 3);
}
