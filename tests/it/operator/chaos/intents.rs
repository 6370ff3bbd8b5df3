//! Which objects have an attempt open, by the API server's own record of the writes of their statuses.

use std::collections::BTreeMap;

use keywheel_testbed::audit;
use keywheel_testbed::control_plane::OPERATOR_USER;

use crate::operator::world::World;

#[derive(Default)]
pub struct Intents {
    read: Option<audit::Mark>,
    open: BTreeMap<String, bool>,
}

impl Intents {
    /// Whether any is open now.
    pub fn open(&mut self, world: &World) -> bool {
        let log = world.cp().audit();
        let since = self.read.unwrap_or(audit::Mark::START);
        let mark = log.mark().unwrap();
        for entry in log.since(since).unwrap() {
            let status = entry.resource == "serviceaccountkeys" && entry.subresource == "status";
            if status && entry.user == OPERATOR_USER && entry.accepted() {
                let pending = entry.body["status"]["pending"].is_object();
                self.open.insert(format!("{}/{}", entry.namespace, entry.name), pending);
            }
        }
        self.read = Some(mark);
        self.open.values().any(|open| *open)
    }
}
