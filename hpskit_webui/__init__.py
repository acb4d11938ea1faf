"""The pack inside Automatic1111 and Forge: panel, scores, best of N, noise search, tab, Extras, and the API.

Both hosts are one program in two flavours; `bridge` knows the differences, everything else is written once. The scripts
in `scripts/` load this package under the name of the repository's root, so that nothing here is found by a bare name.

`script` gets the callbacks of a generation and passes them to a job: `job` (scores only), `best_of_n.fanout`,
`best_of_n.firstpass` or `noise.search`, as `options` say, which `panel` shows. `judge` scores pictures, `infotext` and
`saving` write the scores, `record` keeps them in the ledger.
"""
