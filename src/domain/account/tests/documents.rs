//! What is published: written down, written, mended, taken away; and what stands in the way.

use super::*;
use crate::api::v1alpha1::{Federation, PublishedKeys};
use crate::domain::conditions::CONFIG_MAPS_PUBLISHED;

const KEYS: &str = "billing-keys";
const FILE: &str = "billing-keyless";

/// An account that is there and publishes in these.
fn asking(keys: Option<&str>, file: Option<&str>) -> Observation {
    let mut obs = settled();
    name(&mut obs, keys, file);
    obs
}

/// A spec with these names.
fn name(obs: &mut Observation, keys: Option<&str>, file: Option<&str>) {
    obs.spec.public_keys = keys.map(|name| PublishedKeys { config_map_name: name.to_owned() });
    obs.spec.federation = file.map(|name| Federation {
        provider: "projects/7/locations/global/workloadIdentityPools/pool/providers/cluster".to_owned(),
        config_map_name: name.to_owned(),
        token_file: "/token".to_owned(),
    });
    obs.generation = obs.generation.map(|generation| generation + 1);
}

/// The same once the names are written down.
fn recorded(keys: Option<&str>, file: Option<&str>) -> Observation {
    let mut obs = asking(keys, file);
    obs.status = decide(&obs).status;
    obs
}

fn keys(n: u32) -> PublicKeys {
    PublicKeys { jwks: format!("jwks {n}"), x509: format!("x509 {n}") }
}

fn entries(all: &[(&str, &str)]) -> Data {
    all.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn key_entries(n: u32) -> Data {
    entries(&[("jwks.json", &format!("jwks {n}")), ("x509.json", &format!("x509 {n}"))])
}

fn ours(data: Data) -> OurConfigMap {
    OurConfigMap {
        uid: "m-1".to_owned(),
        resource_version: "7".to_owned(),
        data,
        marked: true,
        deleting: false,
    }
}

/// What is read: keys and file of the time `n`, where the spec asks for them.
fn read(obs: &mut Observation, n: u32, maps: &[(&str, ConfigMapState)]) {
    obs.documents = Some(Documents {
        maps: maps
            .iter()
            .map(|(name, state)| ConfigMapView { name: (*name).to_owned(), state: state.clone() })
            .collect(),
        public_keys: obs.spec.public_keys.as_ref().map(|_| Ok(keys(n))),
        federation: obs.spec.federation.as_ref().map(|_| "file".to_owned()),
    });
}

fn unreadable(obs: &mut Observation, class: Class) {
    obs.documents.as_mut().unwrap().public_keys = Some(Err(Trouble::new(class, "no")));
}

fn writes(plan: &Plan) -> Option<(&str, &Data, Option<&str>)> {
    match &plan.next {
        Next::Act(Step::WriteConfigMap { name, data, over }) => Some((name, data, over.as_deref())),
        _ => None,
    }
}

fn deletes(plan: &Plan) -> Option<&str> {
    match &plan.next {
        Next::Act(Step::DeleteConfigMap { name, uid, resource_version }) => {
            assert_eq!((uid.as_str(), resource_version.as_str()), ("m-1", "7"));
            Some(name)
        }
        _ => None,
    }
}

/// An account whose keys are published, as they were at the time 1.
fn published() -> Observation {
    let mut obs = recorded(Some(KEYS), None);
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Ours(ours(key_entries(1))))]);
    let plan = decide(&obs);
    assert_eq!((plan.next, reason(&decide(&obs), READY)), (Next::Wait, "AccountReady".to_owned()));
    obs.status = plan.status;
    obs.documents = None;
    assert_eq!(reason(&decide(&obs), CONFIG_MAPS_PUBLISHED), "ConfigMapsPublished");
    obs
}

fn told(plan: &Plan) -> String {
    conditions::find(&plan.status.conditions, CONFIG_MAPS_PUBLISHED).unwrap().message.clone()
}

#[test]
fn where_nothing_is_asked_for_nothing_is_done() {
    let mut obs = settled();
    obs.documents_due = true;
    let plan = decide(&obs);
    assert_eq!((plan.next, plan.status), (Next::Wait, obs.status.clone()));
}

#[test]
fn a_name_is_written_down_before_its_config_map_is() {
    let mut obs = asking(Some(KEYS), Some(FILE));
    let first = decide(&obs);
    assert_eq!((first.next.clone(), first.requeue), (Next::Wait, Duration::ZERO));
    assert_eq!(first.status.config_maps, [KEYS, FILE]);
    assert_eq!(first.status.observed_generation, obs.status.observed_generation, "it is not done yet");
    obs.status = first.status;
    let names = vec![KEYS.to_owned(), FILE.to_owned()];
    assert_eq!(decide(&obs).next, Next::NeedDocuments { names });
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Absent), (FILE, ConfigMapState::Absent)]);
    assert_eq!(writes(&decide(&obs)), Some((KEYS, &key_entries(1), None)));
    let there = ConfigMapState::Ours(ours(key_entries(1)));
    read(&mut obs, 1, &[(KEYS, there.clone()), (FILE, ConfigMapState::Absent)]);
    let file = entries(&[("credentials.json", "file")]);
    assert_eq!(writes(&decide(&obs)), Some((FILE, &file, None)));
    read(&mut obs, 1, &[(KEYS, there), (FILE, ConfigMapState::Ours(ours(file)))]);
    let plan = decide(&obs);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "AccountReady".to_owned()));
    assert_eq!(reason(&plan, CONFIG_MAPS_PUBLISHED), "ConfigMapsPublished");
    assert!(told(&plan).contains(KEYS) && told(&plan).contains(FILE), "{}", told(&plan));
}

#[test]
fn what_is_published_is_looked_at_in_its_time_and_written_if_it_changed() {
    let mut obs = published();
    let rest = decide(&obs);
    assert_eq!((rest.next, rest.status), (Next::Wait, obs.status.clone()));
    obs.documents_due = true;
    assert!(matches!(decide(&obs).next, Next::NeedDocuments { .. }));
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Ours(ours(key_entries(1))))]);
    let same = decide(&obs);
    assert_eq!((same.next, same.status), (Next::Wait, obs.status.clone()));
    // A key came or went; an edit; our mark is gone; an entry of the time when it held the file; all of it is gone.
    read(&mut obs, 2, &[(KEYS, ConfigMapState::Ours(ours(key_entries(1))))]);
    assert_eq!(writes(&decide(&obs)), Some((KEYS, &key_entries(2), Some("7"))));
    let mut former = key_entries(1);
    former.insert("credentials.json".to_owned(), "file".to_owned());
    for map in [
        ours(entries(&[("jwks.json", "edited"), ("x509.json", "x509 1")])),
        OurConfigMap { marked: false, ..ours(key_entries(1)) },
        ours(former),
        ours(Data::new()),
    ] {
        read(&mut obs, 1, &[(KEYS, ConfigMapState::Ours(map.clone()))]);
        assert_eq!(writes(&decide(&obs)), Some((KEYS, &key_entries(1), Some("7"))), "{map:?}");
    }
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Absent)]);
    assert_eq!(writes(&decide(&obs)), Some((KEYS, &key_entries(1), None)));
    // A change of the spec is looked at at once.
    (obs.documents_due, obs.documents) = (false, None);
    obs.generation = Some(9);
    assert!(matches!(decide(&obs).next, Next::NeedDocuments { .. }));
}

#[test]
fn a_foreign_config_map_is_never_touched() {
    let mut obs = recorded(Some(KEYS), Some(FILE));
    for owner in [None, Some("other".to_owned())] {
        read(
            &mut obs,
            1,
            &[(KEYS, ConfigMapState::Foreign { owner: owner.clone() }), (FILE, ConfigMapState::Absent)],
        );
        assert_eq!(writes(&decide(&obs)).map(|write| write.0), Some(FILE), "the other one is written");
        let file = ConfigMapState::Ours(ours(entries(&[("credentials.json", "file")])));
        read(&mut obs, 1, &[(KEYS, ConfigMapState::Foreign { owner }), (FILE, file)]);
        let plan = decide(&obs);
        assert_eq!((plan.next.clone(), plan.requeue), (Next::Wait, Timing::default().retry_cap));
        assert_eq!(reason(&plan, CONFIG_MAPS_PUBLISHED), "ConfigMapConflict");
        assert_eq!(reason(&plan, READY), "ConfigMapConflict");
        assert!(told(&plan).contains(KEYS) && told(&plan).contains("configMapName"), "{}", told(&plan));
        obs.status = plan.status;
    }
    // What an earlier object of this name left goes with it, soon.
    let file = ConfigMapState::Ours(ours(entries(&[("credentials.json", "file")])));
    let left = ConfigMapState::Foreign { owner: Some(obs.name.clone()) };
    read(&mut obs, 1, &[(KEYS, left), (FILE, file)]);
    let plan = decide(&obs);
    assert_eq!((plan.next.clone(), plan.requeue), (Next::Wait, Timing::default().settle));
    assert!(told(&plan).contains("an earlier object of this name"), "{}", told(&plan));
    // It is not deleted either.
    name(&mut obs, None, None);
    let foreign = || ConfigMapState::Foreign { owner: None };
    read(&mut obs, 1, &[(KEYS, foreign()), (FILE, foreign())]);
    let plan = decide(&obs);
    assert_eq!((plan.next.clone(), plan.status.config_maps.len()), (Next::Wait, 0));
    assert_eq!(
        (reason(&plan, CONFIG_MAPS_PUBLISHED), reason(&plan, READY)),
        (String::new(), "AccountReady".to_owned())
    );
}

#[test]
fn keys_that_cannot_be_read_leave_what_is_published() {
    let mut obs = published();
    obs.documents_due = true;
    let edited = ConfigMapState::Ours(ours(entries(&[("jwks.json", "edited"), ("x509.json", "x509 1")])));
    for class in [Class::Unknown, Class::NotFound, Class::Forbidden] {
        read(&mut obs, 1, &[(KEYS, edited.clone())]);
        unreadable(&mut obs, class);
        let first = decide(&obs);
        assert_eq!(
            (first.next.clone(), reason(&first, READY)),
            (Next::Wait, "AccountReady".to_owned()),
            "{class:?}"
        );
        assert_eq!(reason(&first, CONFIG_MAPS_PUBLISHED), "ConfigMapsPublished");
        assert!(told(&first).contains(class.reason().as_str()), "{}", told(&first));
        assert_eq!(first.requeue, Timing::default().retry_cap, "it is read soon");
        obs.status = first.status;
        assert_eq!(decide(&obs).status, obs.status, "it is said once");
    }
    // Nothing is published: that is said, and no set without keys is written.
    let mut fresh = recorded(Some(KEYS), None);
    for state in [ConfigMapState::Absent, ConfigMapState::Ours(ours(Data::new()))] {
        read(&mut fresh, 1, &[(KEYS, state)]);
        unreadable(&mut fresh, Class::NotFound);
        let plan = decide(&fresh);
        assert_eq!((plan.next.clone(), plan.requeue), (Next::Wait, Timing::default().settle));
        assert_eq!(reason(&plan, CONFIG_MAPS_PUBLISHED), "NotFoundAtBackend");
        assert_eq!(reason(&plan, READY), "NotFoundAtBackend");
        fresh.status = plan.status;
    }
    fresh.documents = None;
    assert!(matches!(decide(&fresh).next, Next::NeedDocuments { .. }), "the next pass looks");
}

#[test]
fn what_the_spec_no_longer_names_is_deleted() {
    let mut obs = published();
    name(&mut obs, None, None);
    assert_eq!(decide(&obs).next, Next::NeedDocuments { names: vec![KEYS.to_owned()] });
    let map = ours(key_entries(1));
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Ours(map.clone()))]);
    assert_eq!(deletes(&decide(&obs)), Some(KEYS));
    // Somebody's finalizer holds it: it is not deleted twice, and not forgotten.
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Ours(OurConfigMap { deleting: true, ..map }))]);
    let held = decide(&obs);
    assert_eq!((held.next.clone(), reason(&held, READY)), (Next::Wait, "ConfigMapHeld".to_owned()));
    assert_eq!(held.status.config_maps, [KEYS]);
    obs.status = held.status;
    obs.documents = None;
    assert!(matches!(decide(&obs).next, Next::NeedDocuments { .. }));
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Absent)]);
    let gone = decide(&obs);
    assert_eq!((gone.next.clone(), reason(&gone, READY)), (Next::Wait, "AccountReady".to_owned()));
    assert_eq!((gone.status.config_maps.len(), reason(&gone, CONFIG_MAPS_PUBLISHED)), (0, String::new()));
    obs.status = gone.status;
    obs.documents = None;
    assert_eq!(decide(&obs).next, Next::Wait);
}

#[test]
fn a_renamed_one_is_written_before_the_former_goes() {
    const NEW: &str = "keys-2";
    let mut obs = published();
    name(&mut obs, Some(NEW), None);
    let first = decide(&obs);
    assert_eq!(
        (first.next, first.status.config_maps.clone()),
        (Next::Wait, vec![KEYS.to_owned(), NEW.to_owned()])
    );
    // A crash in between changes nothing: both are written down.
    obs.status = first.status;
    let (old, new) = (ConfigMapState::Ours(ours(key_entries(1))), ConfigMapState::Ours(ours(key_entries(2))));
    read(&mut obs, 2, &[(KEYS, old.clone()), (NEW, ConfigMapState::Absent)]);
    assert_eq!(writes(&decide(&obs)), Some((NEW, &key_entries(2), None)));
    read(&mut obs, 2, &[(KEYS, old.clone()), (NEW, ConfigMapState::Foreign { owner: None })]);
    let plan = decide(&obs);
    assert_eq!(
        (plan.next.clone(), plan.status.config_maps.len()),
        (Next::Wait, 2),
        "who reads the old one has it"
    );
    // One that is gone is not kept in mind for it.
    read(&mut obs, 2, &[(KEYS, ConfigMapState::Absent), (NEW, ConfigMapState::Foreign { owner: None })]);
    assert_eq!(decide(&obs).status.config_maps, [NEW]);
    read(&mut obs, 2, &[(KEYS, old), (NEW, new.clone())]);
    assert_eq!(deletes(&decide(&obs)), Some(KEYS));
    read(&mut obs, 2, &[(KEYS, ConfigMapState::Absent), (NEW, new)]);
    let done = decide(&obs);
    assert_eq!((done.next.clone(), done.status.config_maps.clone()), (Next::Wait, vec![NEW.to_owned()]));
    assert_eq!(reason(&done, CONFIG_MAPS_PUBLISHED), "ConfigMapsPublished");
}

#[test]
fn what_the_api_server_refuses_is_told_and_tried_again() {
    let mut obs = recorded(Some(KEYS), None);
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Refused("configmaps is forbidden".to_owned()))]);
    let unread = decide(&obs);
    read(&mut obs, 1, &[(KEYS, ConfigMapState::Absent)]);
    obs.done.refused_maps = vec![(KEYS.to_owned(), "configmaps is forbidden".to_owned())];
    for plan in [unread, decide(&obs)] {
        assert_eq!((plan.next.clone(), plan.requeue), (Next::Wait, Timing::default().retry_cap));
        assert_eq!(reason(&plan, CONFIG_MAPS_PUBLISHED), "ConfigMapRefused");
        assert!(told(&plan).contains("configmaps is forbidden"), "{}", told(&plan));
        obs.status = plan.status;
    }
    obs.done.refused_maps.clear();
    assert!(writes(&decide(&obs)).is_some(), "the next reconcile tries again");
    // So is the end of one.
    let mut former = published();
    name(&mut former, None, None);
    read(&mut former, 1, &[(KEYS, ConfigMapState::Ours(ours(key_entries(1))))]);
    former.done.refused_maps = vec![(KEYS.to_owned(), "no".to_owned())];
    let plan = decide(&former);
    assert_eq!((plan.next.clone(), plan.status.config_maps.clone()), (Next::Wait, vec![KEYS.to_owned()]));
    assert_eq!(reason(&plan, CONFIG_MAPS_PUBLISHED), "ConfigMapRefused");
}
