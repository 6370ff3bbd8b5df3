//! `/faults` and `/settings`: how tests steer the server. Served only with `--enable-fault-api`.

use axum::body::Bytes;
use axum::http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Server;
use super::faults::Fault;
use super::tunables::TunablesBody;
use super::wire::errors::ApiError;

/// `PUT` adds a fault, `DELETE` forgets all; each answers with those that wait, as `GET` does.
pub fn faults(server: &Server, method: &Method, body: &Bytes) -> Result<Value, ApiError> {
    match *method {
        Method::GET => {}
        Method::PUT => {
            let fault: Fault = read(body)?;
            server.faults.add(fault).map_err(|error| ApiError::invalid(error.to_string()))?;
        }
        Method::DELETE => server.faults.clear(),
        _ => return Err(ApiError::UnknownPath),
    }
    Ok(json!({ "faults": server.faults.show() }))
}

/// `PUT` changes what its body names; it answers with what holds now, as `GET` does.
pub fn settings(server: &Server, method: &Method, body: &Bytes) -> Result<Value, ApiError> {
    match *method {
        Method::GET => {}
        Method::PUT => {
            let change: TunablesBody = read(body)?;
            let changed = server.tunables.apply(&change, &server.clock);
            changed.map_err(|error| ApiError::invalid(error.to_string()))?;
        }
        _ => return Err(ApiError::UnknownPath),
    }
    Ok(serde_json::to_value(server.tunables.show(&server.clock))?)
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid(error.to_string()))
}
