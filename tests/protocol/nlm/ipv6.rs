//! A client that calls over IPv6 is called over IPv6: its port mapper is asked there, by the netids of IPv6.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use trunkfs::nlm;

use super::host::*;
use super::manager::{Manager, Says, Way};
use crate::nfs::fixture::{Pair, Stores, TestServer, lock_settings};
use crate::nfs::rpc::wait;

#[test]
fn who_waits_over_ipv6_is_called_over_ipv6() {
    let own = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if UdpSocket::bind((own, 0)).is_err() {
        // A machine without IPv6.
        return;
    }
    // [::1] is the one address of IPv6 that every machine has: both clients are one address of two names.
    let manager = Manager::start_at(own, 0);
    let settings = nlm::Settings { mapper_port: manager.mapper, ..lock_settings() };
    let server = wait(async {
        let stores = Stores::new(Pair::Memory).await;
        TestServer::start_as(stores, settings, |it| it.listen = vec![(own, 0).into()]).await
    });
    let root = server.client(0);
    let dir = root.dir_of(&server.root_of("/t"), b"dir", 0o777);
    let file = root.file_of(&dir, b"f", 0o666);
    let waiter = Host::with(manager, &server);
    let holder = waiter.named(b"another");
    for says in [Says::Status(GRANTED), Says::Unavailable] {
        waiter.manager.says(says);
        assert_eq!(holder.ask(&file).lock(), GRANTED);
        assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
        assert_eq!(holder.ask(&file).unlock(), GRANTED);
        let call = waiter.manager.called();
        assert_eq!((call.procedure, call.version, call.way), (5, 4, Way::Tcp));
        assert_eq!(call.from.ip(), own);
        assert_eq!(holder.ask(&file).lock(), DENIED, "it is the other's");
        if says == Says::Unavailable {
            assert_eq!(waiter.manager.called().procedure, 10, "GRANTED_MSG, by the same port");
        }
        assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    }
    waiter.ask(&file).message(LOCK);
    let result = waiter.manager.called();
    assert_eq!((result.procedure, result.from.ip()), (LOCK + RESPONSE, own));
    assert_eq!(result.result().1, GRANTED);
    assert!(waiter.manager.asked() > 0, "its port was asked for");
}
