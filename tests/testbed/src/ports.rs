//! Port numbers from the kernel.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// `N` different ports that were free a moment ago, on the loopback address.
///
/// Another process may take one before it is used. Who uses it must notice that (the program says "address
/// already in use") and ask again; see [`taken`].
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held until all are known, or the kernel could give one twice.
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Whether a program's log says that its port was taken by somebody else.
pub fn taken(log: &str) -> bool {
    log.contains("address already in use") || log.contains("Address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports: [u16; 20] = free().unwrap();
        let unique: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        assert_eq!(unique.len(), ports.len());
        assert!(!unique.contains(&0));
    }

    #[test]
    fn a_taken_port_is_told_by_the_kernels_words() {
        let [port] = free().unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let refusal = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_err().to_string();
        assert!(taken(&refusal), "{refusal}");
        assert!(taken("listen tcp 127.0.0.1:2379: bind: address already in use"));
        assert!(!taken("permission denied"));
    }
}
