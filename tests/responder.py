# SPDX-License-Identifier: Apache-2.0
"""An OCSP responder for tests: `openssl ocsp`, behind HTTP on the loopback address."""

import subprocess
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.papers import DAY, Paper, key

ANSWER = ["openssl", "ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key"]


class Responder:
    """Answers for an authority's certificates until `stop`."""

    def __init__(self, folder: Path, ca: Paper) -> None:
        self.folder = folder
        self.ca = ca
        (folder / "ca.pem").write_bytes(ca.pem)
        (folder / "ca.key").write_bytes(ca.key_pem)
        self.known: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/ocsp"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def issue(self, name: str = "www.example.org", *, demanding: bool = False) -> Paper:
        """A certificate that names this responder, which knows it. `demanding`: with a response (RFC 7633)."""
        now, own = datetime.now(UTC), key(which=name)
        where = x509.UniformResourceIdentifier(self.url)
        access = x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(self.ca.certificate.subject)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + 30 * DAY)
            .add_extension(access, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        if demanding:
            builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        made = Paper(builder.sign(self.ca.key, hashes.SHA256()), own)
        self._write(made, f"V\t{now + 30 * DAY:%y%m%d%H%M%SZ}\t")
        return made

    def revoke(self, paper: Paper) -> None:
        now = datetime.now(UTC)
        self._write(paper, f"R\t{now + 30 * DAY:%y%m%d%H%M%SZ}\t{now - DAY:%y%m%d%H%M%SZ}")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _write(self, paper: Paper, state: str) -> None:
        serial = f"{paper.certificate.serial_number:x}".upper()
        self.known[serial] = f"{state}\t{'0' * (len(serial) % 2)}{serial}\tunknown\t/CN={serial}\n"
        (self.folder / "index.txt").write_text("".join(self.known.values()))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        folder = self.folder

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                (folder / "request").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
                command = [*ANSWER, "-ndays", "1", "-reqin", "request", "-respout", "response"]
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20)
                self.send_response(200)
                self.end_headers()
                self.wfile.write((folder / "response").read_bytes())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
