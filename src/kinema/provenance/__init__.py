"""Content credentials (C2PA): signed metadata of how a video was generated, which reveals changes.

manifest.py       `sign`: what is declared, and signing a file in place
verify.py         `verify_credentials`: reading and checking credentials
certificates.py   the operator's certificate, or a self-signed one
"""
