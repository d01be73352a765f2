"""What a build takes from the machine: certificates, indexes, proxies, a wheelhouse."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from stackctl.errors import UsageError
from stackctl.images.machine import Machine


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    file.write_text("certificates")
    return file


def pip_settings(machine: Machine) -> dict[str, str]:
    parser = configparser.RawConfigParser()  # what pip reads its files with
    parser.read_string(machine.pip_conf)
    return dict(parser["global"])


def test_our_own_setting_of_the_certificates_comes_first(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text("other")
    machine = Machine.read({"STACKCTL_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(other)})
    assert machine.ca_bundle == bundle
    assert pip_settings(machine)["cert"] == "/run/secrets/ca_bundle"


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_usual_variables_name_the_certificates_too(bundle: Path, name: str) -> None:
    assert Machine.read({name: str(bundle)}).ca_bundle == bundle


def test_without_a_bundle_pip_is_told_of_none() -> None:
    machine = Machine.read({})
    assert machine.ca_bundle is None
    assert "cert" not in pip_settings(machine)


def test_a_bundle_that_is_not_there_is_an_error_only_where_it_was_asked_for(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    assert Machine.read({"SSL_CERT_FILE": missing}).ca_bundle is None
    with pytest.raises(UsageError, match="STACKCTL_CA_BUNDLE"):
        Machine.read({"STACKCTL_CA_BUNDLE": missing})


def test_the_index_address_reaches_pip_as_it_was_written() -> None:
    address = "https://user:p%40ss@index.example.org/simple"
    assert pip_settings(Machine.read({"PIP_INDEX_URL": address}))["index-url"] == address


def test_folders_of_this_machine_do_not_reach_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere/here")
    assert "somewhere" not in Machine.read({}).pip_conf


def test_the_module_proxy_reaches_go() -> None:
    assert "GOPROXY=https://go.example.org\n" in Machine.read({"GOPROXY": "https://go.example.org"}).go_env


def test_proxies_are_handed_on() -> None:
    machine = Machine.read({"HTTPS_PROXY": "http://proxy.example.org:3128", "OTHER": "x"})
    assert machine.proxies == {"HTTPS_PROXY": "http://proxy.example.org:3128"}


def test_a_wheelhouse_must_be_a_folder(tmp_path: Path) -> None:
    assert Machine.read({"STACKCTL_WHEELHOUSE": str(tmp_path)}).wheelhouse == tmp_path
    with pytest.raises(UsageError, match="STACKCTL_WHEELHOUSE"):
        Machine.read({"STACKCTL_WHEELHOUSE": str(tmp_path / "missing")})
