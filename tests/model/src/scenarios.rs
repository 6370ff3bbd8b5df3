//! Where searches begin, and what may go wrong in them.

use keywheel::api::v1alpha1::{
    KeyOrigin, KeyPhase, KeyReason, KeySource, LedgerKey, LostAttempt, ServiceAccountKeyStatus as Status,
};

use crate::actor::{Actor, Who};
use crate::faults::{Budget, Fault};
use crate::names::{self, Key};
use crate::observe::Terms;
use crate::shared::Shared;
use crate::status::canonical;
use crate::time::{self, ANCIENT, FAR, HORIZON, OVERLAP};
use crate::world::{BackendKey, Consumer, Cr, Life, OnWire, World};

/// A place to begin, and what may go wrong from there.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// The backend.
    pub terms: Terms,
    /// The first state.
    pub world: World,
}

/// Everything that can happen to one CR.
const ALL: [Fault; 15] = [
    Fault::Crash,
    Fault::Lost,
    Fault::Lease,
    Fault::Slow,
    Fault::Revoke,
    Fault::SecretGone,
    Fault::SecretBroken,
    Fault::SecretChanged,
    Fault::Restore,
    Fault::StagingGone,
    Fault::Wipe,
    Fault::Person,
    Fault::Deny,
    Fault::Refuse,
    Fault::DeleteCr,
];

/// Three at once are too many states for all kinds together: those that play into each other's hands. What a leader that
/// was replaced can do with two others has scenarios of its own.
const BY_USERS: [Fault; 7] = [
    Fault::Lost,
    Fault::SecretGone,
    Fault::SecretBroken,
    Fault::SecretChanged,
    Fault::Restore,
    Fault::StagingGone,
    Fault::Wipe,
];
const BY_BACKEND: [Fault; 7] =
    [Fault::Crash, Fault::Lost, Fault::Slow, Fault::Revoke, Fault::Deny, Fault::Refuse, Fault::Person];
const AT_ITS_END: [Fault; 6] =
    [Fault::DeleteCr, Fault::Crash, Fault::Lost, Fault::Wipe, Fault::StagingGone, Fault::Revoke];

const DELETES: Terms = Terms {
    can_disable: false,
    key_limit: None,
    retain: false,
    overlaps: true,
    lists_lag: false,
    exclusive: false,
    looks: false,
    struck: [true; 2],
    secret_stays: false,
};
const DISABLES: Terms = Terms { can_disable: true, ..DELETES };

/// How a CR begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Absent,
    New,
    Due,
    /// At rest, but for an attempt whose answer was lost: its request is on the wire, the Secret was rewritten since.
    Owing,
}

fn scenario(name: &'static str, terms: Terms, starts: [Start; 2], budget: Budget) -> Scenario {
    let mut world = World {
        keys: Vec::new(),
        wire: Vec::new(),
        crs: [Cr::absent(), Cr::absent()],
        actors: Vec::new(),
        deposed: false,
        blind_passes: 0,
        denied: 0,
        taken: Vec::new(),
        budget,
    };
    for (i, start) in starts.into_iter().enumerate() {
        begin(&mut world, i, start);
    }
    let crs: Vec<usize> = (0..2).filter(|i| starts[*i] != Start::Absent).collect();
    let new_leader = world.budget.allows(Fault::Lease);
    for cr in crs {
        world.actors.push(Actor::idle(Who::Old, cr));
        if new_leader {
            world.actors.push(Actor::idle(Who::New, cr));
        }
    }
    Scenario { name, terms, world }
}

/// The deposed leader begins another pass before it notices.
fn runs_on(mut scenario: Scenario) -> Scenario {
    scenario.world.blind_passes = 1;
    scenario
}

/// Users and failures strike one of the two objects.
fn strikes(cr: usize, mut scenario: Scenario) -> Scenario {
    scenario.terms.struck = [cr == 0, cr == 1];
    scenario
}

/// The object as it is before the first step.
fn begin(world: &mut World, i: usize, start: Start) {
    if start == Start::Absent {
        return;
    }
    world.crs[i] = Cr { life: Life::New, allowed: 1, ..Cr::absent() };
    if start == Start::New {
        return;
    }
    let owing = start == Start::Owing;
    let made = if owing { 3 } else { 1 };
    let key = Key::of(i, made, 0);
    let mut status = settled(i, key);
    if owing {
        status.next_rotation_time = Some(time::at(FAR));
        status.lost.push(LostAttempt {
            attempt: 2,
            nonce: names::nonce(2),
            backend_time: time::at(-HORIZON),
            until: time::at(0),
            known_key_ids: Vec::new(),
            fenced: true,
            public_key_sha256: None,
        });
        world.wire.push(OnWire { key: Key::of(i, 2, 0), since: -HORIZON });
    }
    world.keys.push(BackendKey {
        key,
        enabled: true,
        listed: true,
        accepted: true,
        created: ANCIENT,
        served: Some(0),
    });
    world.crs[i] = Cr {
        life: Life::Living,
        status: Some(Shared::new(canonical(status))),
        secret: Some(Consumer {
            key,
            attempt: made,
            published: -OVERLAP,
            ledger: Shared::new(Vec::new()),
            readable: true,
            intact: true,
            put_back: false,
        }),
        next: made + 1,
        allowed: u8::from(!owing),
        ..world.crs[i].clone()
    };
}

/// A status at rest, but for a rotation that is due.
fn settled(cr: usize, key: Key) -> Status {
    Status {
        observed_generation: Some(1),
        account_unique_id: Some("100".to_owned()),
        active_key_id: Some(key.id()),
        secret_name: Some(names::object(cr)),
        attempt: key.nonce().into(),
        keys: vec![LedgerKey {
            id: key.id(),
            phase: KeyPhase::Active,
            origin: KeyOrigin::Rotation,
            reason: Some(KeyReason::FirstKey),
            attempt: key.nonce().into(),
            algorithm: Some("RSA_2048".to_owned()),
            minted_at: None,
            created_at: None,
            published_at: Some(time::at(-OVERLAP)),
            disable_at: None,
            delete_at: None,
            disabled_at: None,
            expires_at: None,
            public_key_sha256: Some(key.sha()),
            source: KeySource::Backend,
            surfaces_until: None,
            seen: None,
            disable_reason: None,
            extended_status: None,
        }],
        last_rotation_time: Some(time::at(-FAR)),
        next_rotation_time: Some(time::at(0)),
        ..Status::default()
    }
}

/// Scenarios that take minutes, hours and gigabytes each: only by name.
pub fn deep() -> Vec<Scenario> {
    use Fault::{Lease, Lost, StagingGone};
    use Start::{Absent, Due, New, Owing};
    let ours = Terms { exclusive: true, looks: true, ..DELETES };
    vec![
        scenario("create: any three", DELETES, [New, Absent], Budget::new(3, &ALL)),
        scenario("rotate: any three", DELETES, [Due, Absent], Budget::new(3, &ALL)),
        runs_on(scenario(
            "rotate, the old leader runs on: lost",
            DELETES,
            [Due, Absent],
            Budget::new(2, &[Lease, Lost]),
        )),
        scenario("exclusive: two are made: lost, lost", ours, [New, New], Budget::new(2, &[Lost, Lost])),
        strikes(
            1,
            scenario(
                "exclusive: one owes, one rotates: staging, leaders",
                ours,
                [Owing, Due],
                Budget::new(2, &[StagingGone, Lease]),
            ),
        ),
    ]
}

/// All scenarios.
#[expect(clippy::too_many_lines, reason = "a list")]
pub fn all() -> Vec<Scenario> {
    use Fault::{
        Crash, DeleteCr, Deny, Due as DueAgain, Lease, Lost, Person, Restore, SecretGone, StagingGone, Wipe,
    };
    use Start::{Absent, Due, New, Owing};
    let only = |kinds: &[Fault]| Budget::new(u8::try_from(kinds.len()).expect("few"), kinds);
    let any = |left, kinds: &[Fault]| Budget::new(left, kinds);
    let instant = Terms { overlaps: false, ..DELETES };
    let lagging = Terms { lists_lag: true, ..DELETES };
    let full = Terms { key_limit: Some(2), ..DISABLES };
    let stays = Terms { secret_stays: true, ..DELETES };
    // What is owed is looked for from its first moment on.
    let shared = Terms { looks: true, ..DELETES };
    let ours = Terms { exclusive: true, ..shared };
    let retained = Terms { retain: true, ..DISABLES };
    let one = |name, terms, start, budget| scenario(name, terms, [start, Absent], budget);
    vec![
        scenario("calm: create, rotate", DISABLES, [New, Due], only(&[])),
        scenario("calm: exclusive, one owes, one is made", ours, [Owing, New], only(&[])),
        scenario("calm: exclusive, one owes, one rotates", ours, [Owing, Due], only(&[])),
        one("create: any three of users'", DELETES, New, any(3, &BY_USERS)),
        one("rotate: any three of users'", DELETES, Due, any(3, &BY_USERS)),
        one("create: any three of the backend's", DELETES, New, any(3, &BY_BACKEND)),
        one("rotate: any three of the backend's", DELETES, Due, any(3, &BY_BACKEND)),
        one("create: any three at its end", DELETES, New, any(3, &AT_ITS_END)),
        one("rotate: any three at its end", DELETES, Due, any(3, &AT_ITS_END)),
        one("create: leaders, staging, status lost", DELETES, New, only(&[Lease, StagingGone, Wipe])),
        one("rotate: leaders, staging, status lost", DELETES, Due, only(&[Lease, StagingGone, Wipe])),
        one("create: crash, lost, leaders", DELETES, New, only(&[Crash, Lost, Lease])),
        one("rotate: crash, lost, leaders", DELETES, Due, only(&[Crash, Lost, Lease])),
        one("create: any two", DELETES, New, any(2, &ALL)),
        one("rotate: any two", DELETES, Due, any(2, &ALL)),
        one(
            "rotate, disable first: put back, due again, crash",
            DISABLES,
            Due,
            any(2, &[Restore, DueAgain, Crash]),
        ),
        one(
            "rotate, no overlap: leaders, staging, crash, lost",
            instant,
            Due,
            any(2, &[Lease, StagingGone, Crash, Lost]),
        ),
        runs_on(one(
            "rotate, no overlap, the old leader runs on: crash",
            instant,
            Due,
            only(&[Lease, Crash]),
        )),
        one(
            "rotate, lists lag: any of five",
            lagging,
            Due,
            any(2, &[Crash, Lost, Fault::Refuse, Lease, Person]),
        ),
        one("rotate, account full: due again, twice", full, Due, only(&[DueAgain, DueAgain])),
        one(
            "rotate, account full: due again, Secret gone or broken, revoked",
            full,
            Due,
            any(2, &[DueAgain, SecretGone, Fault::SecretBroken, Fault::Revoke]),
        ),
        one("rotate, the Secret stays: status lost, crash, lost", stays, Due, any(2, &[Wipe, Crash, Lost])),
        one("rotate, retained: deleted, crash, lost", retained, Due, any(2, &[DeleteCr, Crash, Lost])),
        scenario("siblings: lost, lost, crash", DELETES, [Due, New], any(2, &[Lost, Lost, Crash])),
        scenario(
            "siblings: status lost, deleted, lost",
            DELETES,
            [Due, New],
            any(2, &[Wipe, DeleteCr, Lost]),
        ),
        scenario(
            "siblings: person, 403, Secret gone",
            DELETES,
            [Due, New],
            any(2, &[Person, Deny, SecretGone]),
        ),
        one("exclusive: a person's key of before, lost, crash", ours, Due, any(2, &[Person, Lost, Crash])),
        one("exclusive: a person's key of before, status lost", ours, Due, only(&[Person, Wipe])),
        strikes(
            1,
            scenario(
                "exclusive: one owes, one is made: crash, lost",
                ours,
                [Owing, New],
                only(&[Crash, Lost]),
            ),
        ),
        strikes(
            1,
            scenario(
                "exclusive: one owes, one rotates: staging, status lost",
                ours,
                [Owing, Due],
                only(&[StagingGone, Wipe]),
            ),
        ),
        strikes(
            1,
            scenario(
                "exclusive: one owes, one rotates: deleted, lost",
                ours,
                [Owing, Due],
                only(&[DeleteCr, Lost]),
            ),
        ),
        strikes(
            0,
            scenario(
                "exclusive: one owes, status lost, deleted; one is made",
                ours,
                [Owing, New],
                only(&[Wipe, DeleteCr]),
            ),
        ),
        scenario(
            "shared: one owes, one rotates: person, lost, status lost",
            shared,
            [Owing, Due],
            any(2, &[Person, Lost, Wipe]),
        ),
    ]
}
