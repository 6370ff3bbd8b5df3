//! The methods of members: who has which role where. Everybody has one role in a place, or none.

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ORGANIZATION;
use super::access::{among, holds, known};
use super::accounts::find;
use super::errors::Error;
use super::model::{Account, Member, Person, account_named, account_record, member_record, time_text};
use super::operation::Operation;
use super::pages::Page;
use super::place::Place;
use super::requests::{BatchCreate, BatchDelete, MemberFields};
use super::roles::Role;
use crate::iam_server::accounts::Sight;
use crate::iam_server::store::{Ask, StoreError, Write};
use crate::iam_server::wire::query::Query;
use crate::iam_server::wire::requests::parse;
use crate::iam_server::{Server, random};

/// A member in an answer. An account is called as it is called today.
fn shown(store: &impl Ask, member: &Member) -> Result<Value, StoreError> {
    let account = match &member.home {
        Some(project) => store.record::<Account>(&account_record(project, &member.id))?,
        None => None,
    };
    let is_account = member.home.is_some();
    Ok(json!({
        "name": format!("{}/members/{}", member.place, member.id),
        "displayName": account.map(|account| account.display_name).unwrap_or_default(),
        "roles": [member.role.name()],
        // Accounts are not asked; people are, and never answer here.
        "status": if is_account { "ACCEPTED" } else { "PENDING" },
        "email": member.email,
        "accountType": if is_account { "SERVICE_ACCOUNT" } else { "USER" },
        "createTime": time_text(member.created),
    }))
}

fn all_shown(store: &impl Ask, members: &[Member]) -> Result<Vec<Value>, StoreError> {
    members.iter().map(|member| shown(store, member)).collect()
}

/// The one role that a request names.
fn role(roles: &[String], place: &Place) -> Result<Role, Error> {
    let [name] = roles else { return Err(Error::invalid("a member must have exactly one role")) };
    let role = Role::named(name).ok_or_else(|| Error::invalid(format!("unknown role {name:?}")))?;
    if role.fits(place) {
        Ok(role)
    } else {
        Err(Error::invalid(format!("role {name:?} cannot be given in {place}")))
    }
}

/// A member to be.
struct Proposal {
    place: Place,
    email: String,
    role: Role,
}

impl Proposal {
    fn read(fields: MemberFields, place: Place) -> Result<Self, Error> {
        let email = fields.email.unwrap_or_default();
        if !email.contains('@') || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::invalid(format!("invalid email {email:?}")));
        }
        let role = role(&fields.roles.unwrap_or_default(), &place)?;
        Ok(Self { place, email, role })
    }
}

fn add(
    store: &mut Write<'_>,
    sight: &Sight,
    proposal: Proposal,
    operation: Operation,
    now: Timestamp,
) -> Result<Member, Error> {
    let Proposal { place, email, role } = proposal;
    let (id, home) = match account_named(&email) {
        Some((project, id)) => {
            let account = find(store, sight, project, id, operation)?;
            (account.id, Some(account.project))
        }
        None => (person(store, &email)?, None),
    };
    if store.record::<Member>(&member_record(&place, &id))?.is_some() {
        return Err(Error::Exists);
    }
    let member = Member { place, id, email, home, role, created: now };
    store.put_record(&member.record_name(), &member)?;
    Ok(member)
}

/// The id of a person, the same in every place.
fn person(store: &mut Write<'_>, email: &str) -> Result<String, Error> {
    if let Some(Person { id }) = store.record(email)? {
        return Ok(id);
    }
    let person = Person { id: random::person_number()? };
    store.put_record(email, &person)?;
    Ok(person.id)
}

/// `members.create`.
pub async fn create(server: &Server, place: Place, body: &Bytes) -> Result<Value, Error> {
    let proposal = Proposal::read(parse(body, server.settings.strict)?, place)?;
    let (sight, now) = (server.sight(), server.clock.now());
    server
        .store
        .write(move |store| {
            let member = add(store, &sight, proposal, Operation::MEMBERS_CREATE, now)?;
            Ok(shown(store, &member)?)
        })
        .await
}

/// Makes an account an administrator of the organization, if it is none.
///
/// # Errors
/// Internal ones.
pub async fn make_administrator(server: &Server, account: &Account) -> Result<(), Error> {
    let member = Member {
        place: Place::Organization(ORGANIZATION.to_owned()),
        id: account.id.clone(),
        email: account.email(),
        home: Some(account.project.clone()),
        role: Role::OrganizationAdmin,
        created: server.clock.now(),
    };
    server
        .store
        .write(move |store| {
            if store.record::<Member>(&member.record_name())?.is_none() {
                store.put_record(&member.record_name(), &member)?;
            }
            Ok(())
        })
        .await
}

/// Whether an account is an administrator of the organization.
///
/// # Errors
/// [`StoreError`].
pub fn is_administrator(store: &impl Ask, account: &str) -> Result<bool, StoreError> {
    let place = Place::Organization(ORGANIZATION.to_owned());
    Ok(store.record::<Member>(&member_record(&place, account))?.is_some())
}

/// `members.list` of a place, in the order of ids.
pub async fn list(server: &Server, place: Place, query: &Query) -> Result<Value, Error> {
    let page = Page::of(query, format!("{place}/members"))?;
    server
        .store
        .read(move |store| {
            let found = store.records_after(&member_record(&place, ""), page.after(), page.wanted())?;
            let (members, next) = page.cut(found, |member: &Member| member.id.clone());
            Ok(json!({ "members": all_shown(store, &members)?, "nextPageToken": next }))
        })
        .await
}

/// `members.list` of all projects that the caller may look at.
///
/// # Errors
/// [`Error::Missing`] for an organization that is not there.
pub async fn list_all(server: &Server, caller: &Account, query: &Query) -> Result<Value, Error> {
    let page = Page::of(query, "projects/-/members")?;
    if let Some(organization) = query.one("organization") {
        let id = organization.strip_prefix("organizations/").unwrap_or(organization);
        known(&[], &Place::Organization(id.to_owned()))?;
    }
    let wanted = query.one("memberId").map(str::to_owned);
    let (caller, projects) = (caller.clone(), server.settings.projects.clone());
    server
        .store
        .read(move |store| {
            let open = among(store, &caller, &projects, Operation::MEMBERS_LIST_ALL.permission)?;
            let mut all = store.records_after::<Member>("projects/", "", usize::MAX)?;
            all.retain(|member| {
                let Place::Project(project) = &member.place else { return false };
                open.contains(project) && wanted.as_ref().is_none_or(|id| *id == member.id)
            });
            let (members, next) = page.cut(page.rest(all, Member::record_name), Member::record_name);
            Ok(json!({ "members": all_shown(store, &members)?, "nextPageToken": next }))
        })
        .await
}

fn member(store: &impl Ask, place: &Place, id: &str) -> Result<Member, Error> {
    store.record(&member_record(place, id))?.ok_or(Error::Missing { what: "member" })
}

/// `members.get`.
pub async fn get(server: &Server, place: Place, id: String) -> Result<Value, Error> {
    server.store.read(move |store| Ok(shown(store, &member(store, &place, &id)?)?)).await
}

/// `members.patch`: another role.
pub async fn patch(server: &Server, place: Place, id: String, body: &Bytes) -> Result<Value, Error> {
    let fields: MemberFields = parse(body, server.settings.strict)?;
    let role = fields.roles.map(|roles| role(&roles, &place)).transpose()?;
    server
        .store
        .write(move |store| {
            let mut member = member(store, &place, &id)?;
            if let Some(role) = role {
                member.role = role;
                store.put_record(&member.record_name(), &member)?;
            }
            Ok(shown(store, &member)?)
        })
        .await
}

/// `members.delete`; the account stays.
pub async fn delete(server: &Server, place: Place, id: String) -> Result<Value, Error> {
    server
        .store
        .write(move |store| {
            let member = member(store, &place, &id)?;
            store.remove_record::<Member>(&member.record_name())?;
            Ok(json!({}))
        })
        .await
}

/// `members.getInviteUrl`, of a person who has not answered yet. What is at the URL says that nobody can answer here.
///
/// # Errors
/// [`Error::Invalid`] for an account: it was not asked.
pub async fn invite_url(server: &Server, place: Place, id: String) -> Result<Value, Error> {
    let member = server.store.read(move |store| member(store, &place, &id)).await?;
    if member.home.is_some() {
        return Err(Error::invalid("the member has accepted already"));
    }
    Ok(json!({ "inviteUrl": format!("{}/v2/invitations/{}", server.base_url, member.id) }))
}

/// `members.batchCreate`: all or none.
pub async fn batch_create(server: &Server, caller: &Account, body: &Bytes) -> Result<Value, Error> {
    let operation = Operation::MEMBERS_BATCH_CREATE;
    let batch: BatchCreate = parse(body, server.settings.strict)?;
    let mut proposals = Vec::new();
    for mut fields in batch.members {
        let name = fields.project.take().unwrap_or_default();
        let place = Place::named(&name).filter(|place| matches!(place, Place::Project(_)));
        let place = place.ok_or_else(|| Error::invalid(format!("invalid project {name:?}")))?;
        known(&server.settings.projects, &place)?;
        proposals.push(Proposal::read(fields, place)?);
    }
    let (caller, sight, now) = (caller.clone(), server.sight(), server.clock.now());
    server
        .store
        .write(move |store| {
            let mut made = Vec::new();
            for proposal in proposals {
                allowed(store, &caller, &proposal.place, operation)?;
                made.push(add(store, &sight, proposal, operation, now)?);
            }
            Ok(json!({ "members": all_shown(store, &made)? }))
        })
        .await
}

/// `members.batchDelete`: all or none.
pub async fn batch_delete(server: &Server, caller: &Account, body: &Bytes) -> Result<Value, Error> {
    let operation = Operation::MEMBERS_BATCH_DELETE;
    let batch: BatchDelete = parse(body, server.settings.strict)?;
    let mut doomed = Vec::new();
    for name in batch.names {
        let parts = name.split_once("/members/").and_then(|(place, id)| Some((Place::named(place)?, id)));
        let Some((place @ Place::Project(_), id)) = parts else {
            return Err(Error::invalid(format!("invalid name {name:?}")));
        };
        known(&server.settings.projects, &place)?;
        doomed.push((place, id.to_owned()));
    }
    let caller = caller.clone();
    server
        .store
        .write(move |store| {
            for (place, id) in doomed {
                allowed(store, &caller, &place, operation)?;
                let member = member(store, &place, &id)?;
                store.remove_record::<Member>(&member.record_name())?;
            }
            Ok(json!({}))
        })
        .await
}

fn allowed(store: &impl Ask, caller: &Account, place: &Place, operation: Operation) -> Result<(), Error> {
    let permission = operation.permission;
    if holds(store, caller, place, permission)? { Ok(()) } else { Err(Error::Forbidden { permission }) }
}
