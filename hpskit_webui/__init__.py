"""The pack inside Automatic1111 and Forge: panel, scores, best of N, noise search, tab, Extras, and the API.

Both hosts are one program in two flavours; `host` knows the differences, everything else is written once. The scripts
in `scripts/` load this package under the name of the repository's root, so that nothing here is found by a bare name.
"""
