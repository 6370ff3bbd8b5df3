//! Keys: observe, plan, act one step, observe again.

mod act;
mod ask;
mod consumer;
mod material;
mod observe;
mod public_halves;
mod requests;
mod rollout;
mod siblings;
mod staging;
mod upload;
mod world;

use std::sync::Arc;
use std::time::Duration;

use kube::Resource as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

pub(super) use self::consumer::named_ids;
pub(super) use self::staging::read as read_staging;
use self::world::World;
use super::guard::guarded;
use super::{Context, Error};
use crate::api::v1alpha1::ServiceAccountKey;
use crate::credential::{Jwk, SecretBytes};
use crate::domain::key::{Next, Plan, Refusal, Step, Upload, failed_step, plan};
use crate::domain::{Reason, conditions};

/// Steps that one reconcile takes at most. A rotation with everything in its way takes about ten.
const PASSES: usize = 32;

/// Rules that compare the ledger with the list.
const LOOKING: [&str; 2] = ["13a", "15"];

/// What a reconcile remembers of its own calls from one pass to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// Whether this reconcile added the finalizer.
    own_finalizer: bool,
    /// Nonce of the attempt whose intent this reconcile wrote.
    own_intent: Option<String>,
    /// Nonce of the attempt that this reconcile has sent.
    sent: Option<String>,
    /// The definite refusal of that attempt.
    refused: Option<Refusal>,
    /// Nonce of the attempt whose staged key was accepted, and how many times in a row: a slow token endpoint
    /// must not make the reads of every pass too old to publish on.
    proved: Option<(String, u32)>,
    /// Staging Secrets that this reconcile wrote.
    staged: Vec<String>,
    /// A pair for the next attempt: its fingerprint, and the private half.
    pair: Option<(String, SecretBytes)>,
    /// Nonce of the attempt whose pair this reconcile staged and has not uploaded yet.
    staged_here: Option<String>,
    /// What became of the upload of an attempt's pair.
    upload: Option<(String, Upload)>,
    /// Public halves that the backend told: a slow answer must not be asked for again in every pass.
    public_halves: Vec<Jwk>,
}

/// Reconciles one key.
pub async fn reconcile(
    object: Arc<DeserializeGuard<ServiceAccountKey>>,
    ctx: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let about = object.object_ref(&());
    Box::pin(guarded(&ctx, about, run(&object, &ctx))).await
}

async fn run(object: &DeserializeGuard<ServiceAccountKey>, ctx: &Context) -> Result<Action, Error> {
    let cached = match &object.0 {
        Ok(cached) => cached,
        Err(invalid) => {
            super::report::tell_invalid(ctx, &object.object_ref(&()), invalid).await;
            return Ok(Action::await_change());
        }
    };
    let mut memory = Memory::default();
    let mut rule = "";
    for _ in 0..PASSES {
        let Some(mut world) = observe::observe(ctx, cached, &memory).await? else {
            if let Some(uid) = &cached.metadata.uid {
                ctx.looks.forget(uid);
                ctx.refusals.forget(uid);
            }
            return Ok(Action::await_change());
        };
        let decided = decide(ctx, &mut world, &mut memory).await?;
        memory.proved = world.proved();
        let Some(decided) = decided else { continue };
        let has_compared =
            world.has_looked() && (decided.next == Next::Wait || LOOKING.contains(&decided.rule));
        rule = decided.rule;
        tracing::debug!(rule, next = ?decided.next, "planned");
        match &decided.next {
            Next::Act(step) => {
                match act::act(ctx, &world, step, &decided, &mut memory).await {
                    // Somebody else wrote first: look again.
                    Err(error) if error.is_conflict() => continue,
                    Err(error) => {
                        let told = failure(step, &error);
                        let definite = told.clone().filter(|_| is_definite(&error));
                        let Some((subject, (reason, message))) = step.subject().zip(definite) else {
                            if let Some((reason, message)) = &told {
                                tell_failure(ctx, &world, *reason, message).await?;
                            }
                            return Err(error);
                        };
                        tracing::warn!(%error, ?subject, "refused, and put off");
                        let told = (reason, message, error.retry_after());
                        let now = ctx.clock.now();
                        let refused = ctx.refusals.refused(world.uid(), subject, told, now, &ctx.timing);
                        tell_failure(ctx, &world, refused.reason, &refused.message).await?;
                        continue;
                    }
                    Ok(()) => {
                        if let Some(subject) = step.subject() {
                            ctx.refusals.done(world.uid(), &subject);
                        }
                        // What it showed is written down.
                        if has_compared {
                            ctx.looks.looked(world.uid(), ctx.clock.now());
                        }
                    }
                }
                tell(ctx, &world, &decided).await;
                if *step == Step::RemoveFinalizer {
                    return Ok(Action::await_change());
                }
            }
            Next::Wait | Next::Need(_) => {
                act::write_status(ctx, &world, &decided).await?;
                if has_compared {
                    ctx.looks.looked(world.uid(), ctx.clock.now());
                }
                tell(ctx, &world, &decided).await;
                return Ok(Action::requeue(decided.requeue));
            }
        }
    }
    Err(Error::Restless { passes: PASSES, rule })
}

/// Plans, reading what the plan asks for. `None`: what was read before no longer holds.
async fn decide(ctx: &Context, world: &mut World, memory: &mut Memory) -> Result<Option<Plan>, Error> {
    loop {
        let decided = plan(&world.observation, ctx.clock.now(), &ctx.timing);
        let Next::Need(need) = &decided.next else { return Ok(Some(decided)) };
        if !ask::ask(ctx, world, need, memory).await? {
            return Ok(None);
        }
    }
}

/// Why a step did not go through, where people should know.
fn failure(step: &Step, error: &Error) -> Option<(Reason, String)> {
    match error {
        Error::Backend(error) => {
            let trouble = error.trouble();
            Some((trouble.class.reason(), trouble.message))
        }
        Error::Kube(error) => {
            let reason = match step {
                Step::Restart { .. } => Reason::RestartRefused,
                _ => Reason::SecretRefused,
            };
            Some((reason, error.refusal()?.to_owned()))
        }
        _ => None,
    }
}

/// Whether the same request would be refused again now.
fn is_definite(error: &Error) -> bool {
    match error {
        Error::Backend(error) => error.trouble().class.is_definite_refusal(),
        Error::Kube(error) => error.refusal().is_some(),
        _ => false,
    }
}

/// Says why a step did not go through. The wait before the next try is the guard's, or that of what is put off: it grows
/// with each failure.
async fn tell_failure(ctx: &Context, world: &World, reason: Reason, message: &str) -> Result<(), Error> {
    let status = failed_step(&world.observation, reason, message, ctx.clock.now());
    let told = Plan { rule: "failed", next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() };
    match act::write_status(ctx, world, &told).await {
        // The next pass will tell it.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            tell(ctx, world, &told).await;
            Ok(())
        }
    }
}

async fn tell(ctx: &Context, world: &World, decided: &Plan) {
    let before = world.observation.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let mut events = decided.events.clone();
    events.extend(conditions::events(before, &decided.status.conditions));
    ctx.reporter.tell(&world.object.object_ref(&()), &events).await;
}
