//! An admission webhook that holds a request back, so that the API server applies it as late as a test wants, or refuses it:
//! whoever sent it may have been paused by then, with its connection still open.

use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::pki::{self, Authority};
use crate::process::{self, Scratch};

/// No API server needs longer to send what it has begun.
const READ: Duration = Duration::from_secs(10);

/// A failure of the gate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder.
    #[error("the gate has no folder")]
    Folder(#[from] process::Error),
    /// Certificates.
    #[error("the gate's certificate could not be made")]
    Pki(#[from] pki::Error),
    /// Its own files.
    #[error("the gate's certificate cannot be read back")]
    Pem(#[from] pem::Error),
    /// TLS.
    #[error("the gate's certificate is of no use")]
    Tls(#[from] rustls::Error),
    /// The port.
    #[error("the gate cannot listen")]
    Listen(#[from] io::Error),
}

/// Whether an admission request is the one to hold.
type Wanted = Box<dyn Fn(&Value) -> bool + Send>;

#[derive(Default)]
enum Bar {
    /// All pass.
    #[default]
    Up,
    /// The first that is wanted will be held.
    Ready(Wanted),
    /// One is held; all others pass.
    Down(Value),
    /// The held one of this uid is refused with these words; all others pass.
    Refused(Value, String),
}

#[derive(Default)]
struct Lane {
    bar: Mutex<Bar>,
    moved: Condvar,
    closed: AtomicBool,
    asked: AtomicUsize,
}

impl Lane {
    fn bar(&self) -> MutexGuard<'_, Bar> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when this admission request may go on; an error says why it may not.
    fn pass(&self, request: &Value) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut bar = self.bar();
        // Of a dry run nothing can be applied late.
        let wanted = |bar: &Bar| matches!(bar, Bar::Ready(wanted) if wanted(request));
        if request["dryRun"] == true || !wanted(&bar) {
            return Ok(());
        }
        *bar = Bar::Down(request.clone());
        self.moved.notify_all();
        loop {
            match &*bar {
                Bar::Down(held) if held["uid"] == request["uid"] => {}
                Bar::Refused(uid, words) if *uid == request["uid"] => return Err(words.clone()),
                _ => return Ok(()),
            }
            bar = self.moved.wait(bar).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(&self, bar: Bar) {
        *self.bar() = bar;
        self.moved.notify_all();
    }
}

/// A webhook that allows everything at once, but for one request that waits to be told; dropping it lets all pass.
pub struct Gate {
    lane: Arc<Lane>,
    address: SocketAddr,
    authority: String,
    listener: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that holds nothing yet.
    pub fn open() -> Result<Self, Error> {
        let scratch = Scratch::new("gate")?;
        let authority = Authority::new(scratch.path())?;
        let pair = authority.server("gate", &["127.0.0.1"])?;
        let certificates = CertificateDer::pem_file_iter(&pair.certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&pair.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        let authority = std::fs::read_to_string(authority.certificate())?;
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, lane) = (socket.local_addr()?, Arc::new(Lane::default()));
        let served = Arc::clone(&lane);
        let listener = std::thread::spawn(move || listen(&socket, &Arc::new(tls), &served));
        Ok(Self { lane, address, authority, listener: Some(listener) })
    }

    /// Where the API server is to ask.
    pub fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// The certificate of who vouches for it, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Holds the first admission request from now on for which `wanted` says so. One that is held already goes on.
    pub fn hold_first(&self, wanted: impl Fn(&Value) -> bool + Send + 'static) {
        self.lane.set(Bar::Ready(Box::new(wanted)));
    }

    /// The admission request that is held, as soon as there is one; `None` if there was none for so long.
    pub fn held_within(&self, patience: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience;
        let mut bar = self.lane.bar();
        loop {
            if let Bar::Down(request) = &*bar {
                return Some(request.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            bar = self.lane.moved.wait_timeout(bar, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets what is held go on, and holds nothing more.
    pub fn lift(&self) {
        self.lane.set(Bar::Up);
    }

    /// Refuses what is held, and holds nothing more.
    pub fn refuse(&self, words: &str) {
        let uid = match &*self.lane.bar() {
            Bar::Down(held) => held["uid"].clone(),
            _ => return,
        };
        self.lane.set(Bar::Refused(uid, words.to_owned()));
    }

    /// How often it was asked, also about dry runs.
    pub fn asked(&self) -> usize {
        self.lane.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.lane.closed.store(true, Ordering::Relaxed);
        self.lane.set(Bar::Up);
        // The listener looks up when somebody calls.
        if TcpStream::connect(self.address).is_ok()
            && let Some(listener) = self.listener.take()
        {
            listener.join().ok();
        }
    }
}

fn listen(socket: &TcpListener, tls: &Arc<ServerConfig>, lane: &Arc<Lane>) {
    for stream in socket.incoming() {
        if lane.closed.load(Ordering::Relaxed) {
            return;
        }
        let (tls, lane) = (Arc::clone(tls), Arc::clone(lane));
        // What fails here is seen where it matters: the API server calls again, or goes on without an answer.
        std::thread::spawn(move || stream.and_then(|stream| answer(stream, tls, &lane)));
    }
}

/// One review on each connection.
fn answer(stream: TcpStream, tls: Arc<ServerConfig>, lane: &Lane) -> io::Result<()> {
    stream.set_read_timeout(Some(READ))?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let review = review(&mut reader)?;
    let request = review.get("request").ok_or(io::ErrorKind::InvalidData)?;
    let verdict = match lane.pass(request) {
        Ok(()) => json!({"uid": request["uid"], "allowed": true}),
        Err(words) => json!({"uid": request["uid"], "allowed": false, "status": {"message": words}}),
    };
    let response =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": verdict});
    let body = response.to_string();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// The body of a POST whose length its head tells, as the API server sends it.
fn review(reader: &mut impl BufRead) -> io::Result<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}
