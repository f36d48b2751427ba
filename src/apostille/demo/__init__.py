"""The demonstration and the stand-ins it runs: a bucket that checks signatures, a service, a recorder, a signer.

Needs the extra ``demo``. Nothing outside this package may import it, except the command line and the tests.
"""
