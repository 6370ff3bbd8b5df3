//! Keys that the server keeps for an account itself, as Google does to sign for it: about two weeks each, seen in lists and
//! among the public keys, changed by nobody. The private half is forgotten at once: nothing here signs with it.

use jiff::SignedDuration;

use super::Server;
use super::keys::whole_seconds;
use super::model::{Account, Key, KeySize, Origin};
use super::random;
use super::store::Ask as _;
use super::wire::errors::ApiError;
use crate::credential::{Expiry, RsaKeyPair, self_signed};

/// How long one is valid: Google's were seen to last about 16 days.
const LIFE: SignedDuration = SignedDuration::from_hours(16 * 24);
/// How long before its end the next one comes.
const AHEAD: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Sees to it that the account has one that stays for a while, and throws those away that are over. They are made when
/// somebody first looks: most accounts of a test never need one.
///
/// # Errors
/// [`ApiError::Store`] and other internal ones.
pub async fn ensure(server: &Server, account: &Account) -> Result<(), ApiError> {
    let now = server.clock.now();
    let soon = now.checked_add(AHEAD)?;
    let unique_id = account.unique_id.clone();
    let is_fresh = move |key: &Key| key.system && !key.not_after.has_passed(soon);
    let keys = server.store.read(move |store| store.keys_of(&unique_id)).await?;
    if keys.iter().any(&is_fresh) {
        return Ok(());
    }
    let permit = server.generators.acquire().await?;
    let not_before = whole_seconds(now)?;
    let not_after = Expiry::At(not_before.checked_add(LIFE)?);
    let (id, owner) = (random::key_id()?, account.unique_id.clone());
    let key = tokio::task::spawn_blocking(move || {
        let pair = RsaKeyPair::generate_2048()?;
        Ok::<_, ApiError>(Key {
            id,
            certificate_pem: self_signed(&pair, &owner, not_before, not_after)?,
            account: owner,
            origin: Origin::Server,
            size: KeySize::default(),
            system: true,
            public_pem: pair.public_pem(),
            not_before,
            not_after,
            disabled: false,
            created: now,
            activation_delay: SignedDuration::ZERO,
            attempt: None,
        })
    })
    .await??;
    drop(permit);
    server
        .store
        .write(move |store| {
            let keys = store.keys_of(&key.account)?;
            for over in keys.iter().filter(|key| key.system && key.not_after.has_passed(now)) {
                store.remove_key(&over.account, &over.id)?;
            }
            // Another request may have been quicker.
            if !keys.iter().any(is_fresh) {
                store.put_key(&key)?;
            }
            Ok(())
        })
        .await
}
