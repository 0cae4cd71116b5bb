# SPDX-License-Identifier: BSD-3-Clause
"""What every consumer needs: message checking, tokens, groups and a base class."""
