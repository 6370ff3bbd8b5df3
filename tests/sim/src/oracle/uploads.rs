//! A pair is uploaded until it is found (rule 8c): after the first time only where a list that was read since
//! does not show it.

use std::collections::BTreeMap;

use crate::iam::Call;

/// What each process sent and looked at, in the order of its happening.
#[derive(Default)]
pub struct Uploads {
    step: u64,
    /// When a pair was last uploaded, by its fingerprint.
    sent: BTreeMap<String, u64>,
    /// When a process last read the keys of an account.
    looks: BTreeMap<(usize, String), u64>,
}

impl Uploads {
    /// A process has read something.
    pub fn answered(&mut self, actor: usize, call: &Call) {
        if let Call::ListKeys { account } = call {
            self.step += 1;
            self.looks.insert((actor, account.clone()), self.step);
        }
    }

    /// A process sends something. What is wrong with it.
    pub fn sent(&mut self, actor: usize, call: &Call) -> Option<String> {
        let Call::UploadKey { account, nonce, fingerprint, .. } = call else { return None };
        self.step += 1;
        let before = self.sent.insert(fingerprint.clone(), self.step)?;
        let looked = self.looks.get(&(actor, account.clone())).copied();
        looked.is_none_or(|look| look < before).then(|| {
            format!("A{actor} uploads the pair of attempt {nonce} again without a look at what became of the last time")
        })
    }
}
