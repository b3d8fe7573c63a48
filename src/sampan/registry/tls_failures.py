"""What a failed TLS connection means to a user, by OpenSSL's own codes (x509_vfy.h) and reasons."""

import ssl
import time

_SYSTEM_PLACE = "/usr/local/share/ca-certificates/NAME.crt, then: update-ca-certificates"

_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_NOT_YET_VALID = frozenset({9})
_EXPIRED = frozenset({10})
_OTHER_NAME = frozenset({62, 63, 64})

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})  # fmt: skip
_WANTS_OURS = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"})  # fmt: skip


def explain_certificate(error: ssl.SSLCertVerificationError, host: str) -> tuple[str, str, str]:
    """Cause, evidence and remedy of a certificate that does not prove what it should.

    Args:
        error: OpenSSL's.
        host: with its port, as users write it and certs.d names it.
    """
    code, words = error.verify_code, str(error.verify_message)
    if code in _UNKNOWN_AUTHORITY:
        return (
            f"{host} has a certificate of an authority that this machine does not know",
            words,
            (
                f"put the authority's certificate into /etc/docker/certs.d/{host}/ca.crt or "
                f"~/.config/containers/certs.d/{host}/ca.crt; for all programs: {_SYSTEM_PLACE}"
            ),
        )
    today = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if code in _EXPIRED:
        return (
            f"the certificate of {host} has expired",
            f"{words}; this machine's clock says {today}",
            "is the clock right? else ask the registry's operator",
        )
    if code in _NOT_YET_VALID:
        return (
            f"the certificate of {host} is not valid yet",
            f"{words}; this machine's clock says {today}",
            "set the clock: timedatectl",
        )
    if code in _OTHER_NAME:
        return (
            f"{host} has the certificate of another host",
            words,
            "use the name that is in the certificate; behind a proxy: is it the proxy's?",
        )
    return (
        f"{host} has a certificate that this machine does not trust",
        words,
        f"put its authority into /etc/docker/certs.d/{host}/ca.crt, or: SSL_CERT_FILE=FILE",
    )


def explain_handshake(error: ssl.SSLError, host: str) -> tuple[str, str, str]:
    """Cause, evidence and remedy of a connection that did not come to be."""
    reason = str(error.reason or error)
    if reason in _NOT_TLS:
        return (
            f"{host} does not speak https",
            reason,
            (
                "a registry without https has to be configured as insecure: insecure = true in "
                "registries.conf, or --tls-verify=false"
            ),
        )
    if reason in _WANTS_OURS:
        return (
            f"{host} wants another certificate of ours, or any",
            reason,
            f"put it into /etc/docker/certs.d/{host}/: client.cert and client.key",
        )
    if isinstance(error, ssl.SSLEOFError):
        return (
            f"{host} ends the encrypted connection before it has answered",
            reason,
            (
                "does it want a certificate of ours? /etc/docker/certs.d/"
                f"{host}/client.cert and client.key; behind a proxy set HTTPS_PROXY"
            ),
        )
    return (
        f"no encrypted connection to {host}",
        reason,
        "behind a proxy set HTTPS_PROXY; else ask the registry's operator",
    )
