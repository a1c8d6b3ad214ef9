//! Tells which addresses are public, which are in this network, and which are special.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// An address of the internet.
    Public,
    /// An address of this machine or this network.
    Inside,
    /// An address that an ordinary request has no reason to use: link-local, where clouds serve their machines'
    /// credentials, multicast, reserved, and IPv4 embedded in IPv6.
    Special,
}

/// The address where Azure serves what other clouds serve at link-local addresses.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The same address in Alibaba's cloud. It lies in the range for carrier-grade NAT.
const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// The same addresses in Amazon's and Google's clouds. They lie in the range of unique local addresses.
const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

pub(super) fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(address) => scope_v4(address),
        IpAddr::V6(address) => scope_v6(address),
    }
}

fn scope_v4(address: Ipv4Addr) -> Scope {
    if address == AZURE || address == ALIBABA {
        return Scope::Special;
    }
    match address.octets() {
        [10, ..] | [127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Scope::Inside,
        // This network, link-local, protocol assignments, documentation, relays, benchmarks, multicast and reserved.
        [0, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            Scope::Special
        }
        [198, 18..=19, ..] | [224..=255, ..] => Scope::Special,
        _ => Scope::Public,
    }
}

fn scope_v6(address: Ipv6Addr) -> Scope {
    if address == AMAZON || address == GOOGLE {
        return Scope::Special;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] => Scope::Inside,
        // Protocol assignments with Teredo, documentation twice, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Scope::Special,
        [0x2000..=0x3fff, ..] => Scope::Public,
        // Every other range is unassigned, or translates to other addresses.
        _ => Scope::Special,
    }
}

/// The address, if the host is one. An IPv6 address has brackets in a URL.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(addresses: &[&str]) -> Vec<Scope> {
        addresses.iter().map(|address| scope(address.parse().unwrap())).collect()
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        let addresses = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ];
        assert_eq!(scopes(&addresses), [Scope::Public; 15]);
    }

    #[test]
    fn addresses_of_this_machine_and_this_network_are_inside() {
        let addresses = [
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fdff::1",
        ];
        assert_eq!(scopes(&addresses), [Scope::Inside; 11]);
    }

    #[test]
    fn all_other_addresses_are_special() {
        let addresses = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100::1",
            "3fff::1",
        ];
        assert_eq!(scopes(&addresses), [Scope::Special; 29]);
    }
}
