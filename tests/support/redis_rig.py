# SPDX-License-Identifier: BSD-3-Clause
"""Several Redis servers together, or behind TLS, for tests."""

import contextlib
import subprocess
import tempfile
from pathlib import Path

from redis_server import RedisServer, free_port

FAILOVER_SECONDS = 20


class Certificates:
    """A certificate authority and a certificate for 127.0.0.1 and localhost, in files."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="channelsd-tls-")
        folder = Path(self._folder.name)
        self.ca, self.certificate, self.key = folder / "ca.crt", folder / "redis.crt", folder / "redis.key"
        ca_key, request, extensions = folder / "ca.key", folder / "redis.csr", folder / "extensions"
        # With all that Python asks for from 3.13 on.
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        authority = ["-x509", "-days", "2", "-subj", "/CN=authority of a test"]
        authority += ["-addext", "keyUsage=critical,keyCertSign"]
        self._openssl("req", *curve, *authority, "-keyout", ca_key, "-out", self.ca)
        self._openssl("req", *curve, "-subj", "/CN=redis", "-keyout", self.key, "-out", request)
        signing = ["-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", extensions]
        self._openssl("x509", "-req", *signing, "-in", request, "-out", self.certificate)

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def cleanup(self):
        self._folder.cleanup()


class TlsRedis(RedisServer):
    """A Redis whose `tls_port` speaks TLS; its plain port stays for the test itself."""

    def __init__(self, certificates):
        super().__init__()
        self.certificates = certificates

    def _command_line(self):
        self.tls_port = free_port()
        files = ["--tls-cert-file", self.certificates.certificate, "--tls-key-file", self.certificates.key]
        files += ["--tls-ca-cert-file", self.certificates.ca]
        words = [*super()._command_line(), *files, "--tls-auth-clients", "no", "--tls-port", self.tls_port]
        return list(map(str, words))


class Sentinel(RedisServer):
    """One Sentinel that watches `master` under the name "mymaster"."""

    def __init__(self, master):
        super().__init__()
        self._master = master

    def _command_line(self):
        file = self.folder / "sentinel.conf"
        file.write_text(
            f"sentinel monitor mymaster 127.0.0.1 {self._master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 300\n"
            "sentinel failover-timeout mymaster 4000\n"
        )
        return [str(file), "--sentinel"]

    def master_port(self):
        return int(self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1])


class Failover:
    """A master, its replica and a Sentinel; fail_over() kills the one and waits for the other to be master."""

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.master = stack.enter_context(RedisServer("--repl-diskless-sync-delay", "0"))
            self.replica = stack.enter_context(RedisServer("--replicaof", "127.0.0.1", str(self.master.port)))
            # Before that it is sent nothing new.
            self.master.wait_until(
                lambda: "state=online" in self.master.info("replication").get("slave0", ""), "the replica follows"
            )
            self.sentinel = stack.enter_context(Sentinel(self.master))
            # It learns of replicas by asking the master from time to time, and cannot promote what it does not know.
            self.sentinel.wait_until(
                lambda: self.sentinel.command("SENTINEL", "REPLICAS", "mymaster"),
                "the replica is known",
                FAILOVER_SECONDS,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    @property
    def host(self):
        """As an entry of CONFIG["hosts"]."""
        return {"sentinels": [["127.0.0.1", self.sentinel.port]], "master_name": "mymaster"}

    def is_promoted(self):
        # It drops everybody when it becomes master.
        with contextlib.suppress(ConnectionError):
            return self.replica.info("replication")["role"] == "master"
        return False

    def fail_over(self):
        """Nothing is lost on the way: what the replica had not heard of would be."""
        _, heard = self.master.pipeline([("SET", "heard", 1), ("WAIT", 1, 10_000)])
        assert heard == 1, "the replica does not follow"
        self.master.kill()
        self.sentinel.wait_until(self.is_promoted, "the replica is master", FAILOVER_SECONDS)
        self.sentinel.wait_until(
            lambda: self.sentinel.master_port() == self.replica.port, "the Sentinel says so", FAILOVER_SECONDS
        )
