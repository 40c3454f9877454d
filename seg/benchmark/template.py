"""The folder of a leaderboard that takes entries by pull request: its first files."""

from seg.benchmark.board import SUBMISSIONS
from seg.benchmark.checks import CHECKS
from seg.config.version import VERSION

_README = f"""# Leaderboard

Entries to the benchmark of land-cover segmentation on reBEN. Each of them is a folder in `{SUBMISSIONS}/` as
`seg submit` writes it, or a zip of that; evidence of the official test split takes about 80 MB for each seed, so zips
belong into git-lfs. A pull request that adds one is verified: all its scores are computed anew. At home, that is:

```
seg verify {SUBMISSIONS}/NAME
seg leaderboard . --out site
```

Who has the predictions of an entry too compares them, and keeps what they gave in `{CHECKS}/`, which the leaderboard
shows; only whoever keeps the leaderboard writes there:

```
seg verify {SUBMISSIONS}/NAME --data STORE --classes reben --predictions 0=MAPS --out {CHECKS}/NAME.json
```
"""
_ATTRIBUTES = f"""# Files of submissions are known by their hashes: git may not end their lines otherwise.
{SUBMISSIONS}/** -text
{CHECKS}/** -text
"""
_WORKFLOW = f"""# What somebody proposes is verified before anybody reads it, without secrets and leave to write.
name: verify
on:
  pull_request:
  push:
    branches: [main]
permissions:
  contents: read
env:
  # What pip installs: a version, a wheel or git+https://...
  SEG: "seg=={VERSION}"
jobs:
  verify:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 0
          lfs: true
          persist-credentials: false
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install "$SEG"
      - name: Let only whoever keeps the leaderboard say what was compared
        if: >-
          github.event_name == 'pull_request' &&
          !contains(fromJSON('["OWNER", "MEMBER"]'), github.event.pull_request.author_association)
        env:
          BASE: ${{{{ github.event.pull_request.base.sha }}}}
        run: git diff --exit-code --stat "$BASE"...HEAD -- {CHECKS}/
      - name: Verify what the pull request adds or changes
        if: github.event_name == 'pull_request'
        env:
          BASE: ${{{{ github.event.pull_request.base.sha }}}}
        run: |
          git diff -z --name-only "$BASE"...HEAD -- {SUBMISSIONS}/ | cut -z -d / -f 1-2 | sort -z -u |
            while IFS= read -r -d '' entry; do
              case "$entry" in *.md) continue ;; esac
              if [ -e "$entry" ]; then seg verify -- "$entry"; fi
            done
      - name: Rank all entries
        run: seg leaderboard . --out site
      - uses: actions/upload-artifact@v4
        with:
          name: site
          path: site
"""
FILES = {
    "README.md": _README,
    ".github/workflows/verify.yml": _WORKFLOW,
    f"{SUBMISSIONS}/README.md": "One folder or zip for each entry, as `seg submit` writes it.\n",
    ".gitattributes": _ATTRIBUTES,
    f"{CHECKS}/README.md": "What the predictions of entries gave, a file for each.\n",
}
"""Files of an empty leaderboard, by their paths."""
