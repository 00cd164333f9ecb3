import pytest

from service.media.addresses import is_open

CLOSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:db8::1",
    "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fd20:ce::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_special_addresses_are_closed(address: str) -> None:
    """No private, local, reserved, multicast, translated or mapped address is open."""
    assert not is_open(address, ())


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "192.1.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1"]
)
def test_addresses_of_the_internet_are_open(address: str) -> None:
    """An address of the public Internet is open."""
    assert is_open(address, ())


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f.1", "1.2.3.4/8", "8.8.8.08"])
def test_what_is_no_address_is_closed(text: str) -> None:
    """A text that is not the canonical form of an address is not open."""
    assert not is_open(text, ())
