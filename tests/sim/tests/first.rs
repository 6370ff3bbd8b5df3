use std::time::Duration;
use keywheel_sim::fate::Calm;
use keywheel_sim::stage::*;
use keywheel_sim::world::*;
use keywheel_sim::oracle::unrest;
use serde_json::json;

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_key_is_made() {
    let t = std::time::Instant::now();
    let mut w = World::with_account(Setup::new(1)).await;
    println!("{}", w.tail(100)); eprintln!("{:?}", t.elapsed());
    w.counts.reset();
    w.create_key("web", ACCOUNT, &json!({}));
    w.run_while(Duration::from_secs(60), &mut Calm, |w| !w.is_ready("web") || !w.is_quiet()).await;
    w.run_for(Duration::from_secs(5), &mut Calm).await;
    println!("{}", w.tail(100));
    println!("{:#?}", w.counts);
    println!("{:?} {:?}", w.oracle.violations(), unrest(&w.api, &w.iam, |_| false, w.time.now()));
    eprintln!("{:?}", t.elapsed());
    w.counts.reset();
    w.run_for(Duration::from_secs(86400*2), &mut Calm).await;
    println!("{}", w.tail(200));
    println!("{:#?}", w.counts);
    println!("{:?} {:?}", w.oracle.violations(), unrest(&w.api, &w.iam, |_| false, w.time.now()));
    eprintln!("{:?} steps {} lines {}", t.elapsed(), w.calls(), w.trace.lines().len());
}
