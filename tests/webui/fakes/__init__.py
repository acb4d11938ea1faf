"""Stand-ins for AUTOMATIC1111 and Forge: what the pack meets there, in the measured order and torch modes.

`host/` holds the modules that the hosts offer to extensions, under the hosts' own names; files named fake_* are ours.
They follow the contract and are no copy: a network of a few hundred numbers, real files in a temporary folder.
`install.installed(flavour, folder)` puts them in, and takes them out with everything that was loaded on top of them.
"""
