//! Plain HTTP to our own servers on the loopback address.

use std::time::Duration;

/// No server of ours needs longer to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request that got no answer. An answer with any status is an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {method} {url}")]
pub struct NoAnswer {
    /// The method.
    pub method: &'static str,
    /// The whole address.
    pub url: String,
    /// Why.
    #[source]
    pub source: Box<ureq::Error>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        // A proxy of the environment is not meant for the loopback address.
        .proxy(None)
        .build()
        .into()
}

fn answer(
    method: &'static str,
    url: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, NoAnswer> {
    let no_answer = |source| NoAnswer { method, url: url.to_owned(), source: Box::new(source) };
    let mut response = response.map_err(no_answer)?;
    let body = response.body_mut().read_to_string().map_err(no_answer)?;
    Ok(Answer { status: response.status().as_u16(), body })
}

/// GET, with a bearer token if there is one.
pub fn get(url: &str, bearer: Option<&str>) -> Result<Answer, NoAnswer> {
    let mut request = agent().get(url);
    if let Some(token) = bearer {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    answer("GET", url, request.call())
}

/// PUT of a JSON document.
pub fn put(url: &str, json: &str) -> Result<Answer, NoAnswer> {
    answer("PUT", url, agent().put(url).content_type("application/json").send(json))
}

/// Any method, with a bearer token and a JSON document.
pub fn call(method: &'static str, url: &str, bearer: &str, json: Option<&str>) -> Result<Answer, NoAnswer> {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {bearer}"))
        .header("content-type", "application/json")
        .body(json.unwrap_or_default().to_owned());
    let no_answer = |source| NoAnswer { method, url: url.to_owned(), source: Box::new(source) };
    let request = request.map_err(|error| no_answer(error.into()))?;
    answer(method, url, agent().run(request))
}

/// DELETE.
pub fn delete(url: &str) -> Result<Answer, NoAnswer> {
    answer("DELETE", url, agent().delete(url).call())
}

/// Sends a form, already encoded.
pub fn post_form(url: &str, form: &str) -> Result<Answer, NoAnswer> {
    let request = agent().post(url).content_type("application/x-www-form-urlencoded");
    answer("POST", url, request.send(form))
}
