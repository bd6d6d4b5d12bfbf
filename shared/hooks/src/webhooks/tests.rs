use super::*;

#[test]
fn only_addresses_of_the_internet_are_public() {
    for public in ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"] {
        assert!(is_public(public.parse().expect("an address")), "{public}");
    }
    for not in [
        "127.0.0.1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "192.0.0.8",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ] {
        assert!(!is_public(not.parse().expect("an address")), "{not}");
    }
}

#[test]
fn an_address_of_numbers_is_looked_at_in_every_spelling() {
    for (address, is_allowed) in [
        ("https://hooks.example.com/x", true),
        ("https://8.8.8.8/x", true),
        ("http://hooks.example.com/x", false),
        ("https://127.0.0.1/", false),
        ("https://2130706433/", false),
        ("https://0x7f.1/", false),
        ("https://[::1]/", false),
        ("https://[::ffff:10.0.0.1]/", false),
    ] {
        let url = Url::parse(address).expect("a URL");
        assert_eq!(is_public_address(&url), is_allowed, "{address}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_has_no_address() {
    let name: Name = "localhost".parse().expect("a name");
    assert!(PublicNames.resolve(name).await.is_err());
}
