"""What a request costs: the same job done by different gateways, measured side by side on this machine.

``python -m bench`` runs it (``make bench``). A design is one file in `bench.designs`. Nothing here is part of the
package, and no test asserts a time.
"""
