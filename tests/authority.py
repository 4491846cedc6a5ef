"""A certificate authority for the tests. Issues server certificates, also expired ones or for another host."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)

# Python 3.13 refuses an authority without it, and certificates without the identifiers of the keys.
SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    def __init__(self, directory: Path, name: str = "Authority of the tests") -> None:
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.roots = directory / "roots.pem"
        builder = self._builder(self._name, self._key, datetime.now(UTC) + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._write(self.roots, builder.add_extension(SIGNS_CERTIFICATES, critical=True))

    def certify(self, host: str, *, expires: datetime | None = None) -> tuple[Path, Path]:
        """Creates a certificate for an IP address or a host name, and returns its file and the file of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, key_file = self._directory / f"{host}.pem", self._directory / f"{host}.key"
        is_address = host[0].isdigit()
        name = x509.IPAddress(ip_address(host)) if is_address else x509.DNSName(host)
        builder = self._builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key, expires or datetime.now(UTC) + DAY
        )
        self._write(certificate, builder.add_extension(x509.SubjectAlternativeName([name]), critical=False))
        key_file.touch(mode=0o600)  # PostgreSQL refuses a key that others may read
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key_file

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, expires: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(expires - 2 * DAY)
            .not_valid_after(expires)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _write(self, path: Path, builder: x509.CertificateBuilder) -> None:
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
