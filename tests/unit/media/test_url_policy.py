from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from service.media.url_policy import HostRule, UrlRefused, UrlRules, is_open, parse_url

REFUSED = [
    # Schemes and forms.
    "file:///etc/passwd", "ftp://example.org/x", "gopher://example.org/x", "data:image/png;base64,AAAA",
    "javascript:alert(1)", "http://example.org/x", "//example.org/x", "example.org/x", "https:example.org",
    "https:///x", "https://", "https://:443/", "", "https://example.org:99999/",
    # Characters that parsers disagree on.
    "https://example.org\\@127.0.0.1/", "https:\\\\127.0.0.1\\", "https://127.0.0.1\\.example.org/",
    "https://example.org\t.test/", " https://example.org/", "https://example.org/\n", "https://exa\0mple.org/",
    "https://example.org/\r\nHost: 127.0.0.1", "https://a b/", "https://exam\u200bple.org/", "https://\ud800/",
    # Credentials.
    "https://user@example.org/", "https://user:secret@example.org/",
    "https://:@example.org/", "https://example.org@127.0.0.1/", "https://example.org%2f@127.0.0.1/",
    # Ports.
    "https://example.org:22/", "https://example.org:80/", "https://example.org:8443/", "https://example.org:0/",
    # Addresses in every notation.
    "https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/", "https://017700000001/",
    "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0x7F.1/", "https://0177.0.0.1/", "https://127.0.0.1./",
    "https://0/", "https://0.0.0.0/", "https://00000127.0.0.1/", "https://127.0.0.1.%00/", "https://0x/",
    "https://example.0x7f/", "https://1.1.1.256/", "https://8.8.8.08/", "https://134744072/",
    "https://169.254.169.254/latest/meta-data/", "https://2852039166/", "https://0xA9FEA9FE/",
    "https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:ffff:169.254.169.254]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[fd00:ec2::254]/", "https://[::1]x/",
    "https://[::1", "https://[example.org]/", "https://[::1]@/",
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://１２７.0.0.1/", "https://%31%32%37.0.0.1/",
    "https://127%2e0.0.1/",
    # Names that are none.
    "https://ex%61mple.org/", "https://example.org../", "https://.example.org/", "https://a..b/",
    "https://-example.org/", "https://*.example.org/", f"https://{'a' * 64}.org/",
    f"https://{'a.' * 127}org/",
    f"https://example.org/{'a' * 9000}",
]  # fmt: skip


def opened(text: str, rules: UrlRules | None = None) -> URL:
    url = parse_url(text)
    (rules or UrlRules()).check(url)
    return url


@pytest.mark.parametrize("text", REFUSED)
def test_tricks_are_refused(text: str) -> None:
    """Without a look at the network, a URL of a dangerous or ambiguous form is refused."""
    with pytest.raises(UrlRefused):
        opened(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://example.org", "example.org"),
        ("HTTPS://EXAMPLE.org./a/../b?c=d&e=%2F", "example.org."),
        ("https://example.org:443/", "example.org"),
        ("https://a_b.example-1.org/x.png#y", "a_b.example-1.org"),
        ("https://bücher.example/ü.png", "xn--bcher-kva.example"),
        ("https://8.8.8.8/x", "8.8.8.8"),
        ("https://[2606:4700::1111]/x", "2606:4700::1111"),
        ("https://example.org/@x:y@z?u=https://127.0.0.1/", "example.org"),
        ("https://example.org#@127.0.0.1/", "example.org"),
    ],
)
def test_urls_of_the_internet_are_opened(text: str, host: str) -> None:
    """An https URL on the usual port is opened at the host it names, without its fragment."""
    url = opened(text)
    assert (url.raw_host, url.raw_fragment) == (host, "")


def test_no_message_holds_the_url() -> None:
    """What is refused is not repeated, as it may hold a secret."""
    for text in REFUSED:
        with pytest.raises(UrlRefused) as refused:
            opened(text)
        assert not {"127.0.0.1", "169.254", "secret", "passwd"} & set(str(refused.value).split())


@pytest.mark.parametrize(
    ("text", "opens"),
    [
        ("https://images.example.org/x", True),
        ("https://IMAGES.example.org./x", True),
        ("https://example.org/x", False),
        ("https://evilimages.example.org/x", False),
        ("https://images.example.org.evil.test/x", False),
        ("https://images.example.org:8443/x", False),
        ("https://cdn.test/x", False),
        ("https://a.cdn.test/x", True),
        ("https://a.b.cdn.test/x", True),
        ("https://evilcdn.test/x", False),
        ("https://store.test:9000/x", True),
        ("https://store.test/x", False),
        ("https://10.0.0.5/x", True),
        ("https://10.0.0.6/x", False),
        ("https://[fd00::5]:9000/x", True),
    ],
)
def test_a_list_of_hosts_bounds_where_one_may_go(text: str, *, opens: bool) -> None:
    """Where hosts are listed, only those are opened, on the scheme's port or the one that is named."""
    hosts = ("images.example.org", "*.cdn.test", "store.test:9000", "10.0.0.5", "[fd00::5]:9000")
    networks = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
    rules = UrlRules(hosts=tuple(map(HostRule.parse, hosts)), networks=networks)
    if opens:
        opened(text, rules)
    else:
        with pytest.raises(UrlRefused):
            opened(text, rules)


def test_a_listed_address_needs_its_network() -> None:
    """To list a private address among the hosts does not open it."""
    with pytest.raises(UrlRefused):
        opened("https://10.0.0.5/", UrlRules(hosts=(HostRule.parse("10.0.0.5"),)))


@pytest.mark.parametrize("text", ["", "*", "a b", "https://a", "a:0", "a:65536", "a/b", "[::1", "a:b"])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    """What names no host is no rule, so that no typing error opens or closes all of them."""
    with pytest.raises(ValueError, match="is not a host"):
        HostRule.parse(text)


def test_http_is_opened_where_it_is_set() -> None:
    """With the setting, http URLs are opened on their own port."""
    assert opened("http://example.org/", UrlRules(http=True)).port == 80


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "https://example.org/b"),
        ("c?d=e#f", "https://example.org/a/c?d=e"),
        ("//other.test/b", "https://other.test/b"),
        ("https://other.test/x", "https://other.test/x"),
    ],
)
def test_a_redirect_is_relative_to_its_page(location: str, target: str) -> None:
    """A Location header is read as RFC 3986 has it."""
    assert str(parse_url(location, URL("https://example.org/a/b"))) == target


@given(st.integers(0, 2**32 - 1), st.data())
def test_every_notation_of_an_address_is_refused(number: int, data: st.DataObject) -> None:
    """However an IPv4 address is split and its parts are written, other than canonically, it is refused."""
    count = data.draw(st.integers(1, 4))
    sizes = [8] * (count - 1) + [8 * (5 - count)]
    shifts = [sum(sizes[index + 1 :]) for index in range(count)]
    parts = [number >> shift & (1 << size) - 1 for shift, size in zip(shifts, sizes, strict=True)]
    forms = [
        data.draw(st.sampled_from([str(part), f"0{part:o}", f"{part:#x}", f"0X{part:08X}"])) for part in parts
    ]
    host = ".".join(forms) + data.draw(st.sampled_from(["", "."]))
    canonical = count == 4 and all(form.isdigit() and str(int(form)) == form for form in forms)
    if not canonical:
        with pytest.raises(UrlRefused):
            opened(f"https://{host}/")


CLOSED_ADDRESSES = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:db8::1",
    "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fd20:ce::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", CLOSED_ADDRESSES)
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
