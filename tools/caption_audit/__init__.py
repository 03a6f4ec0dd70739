"""`kinema world audit`: do the captions tell the truth, and is the film set as it should be?

Every caption of every clip is read back from its text (`reading`, with word tables of its own) and each
statement is checked against what was measured (`checks`). Neither shares code with the events that made
the claims or the captions that worded them. The audit also counts outcomes, looks whether the main thing
is in view when its event happens, how small the smallest named thing is, and how varied the captions are.
"""

from tools.caption_audit.event_checks import check_statement
from tools.caption_audit.parser import ParsedCaption, Statement, parse_caption
from tools.caption_audit.report import AuditConfig, AuditResults, FalseStatement, audit_clip, run_audit

__all__ = [
    "AuditConfig",
    "AuditResults",
    "FalseStatement",
    "ParsedCaption",
    "Statement",
    "audit_clip",
    "check_statement",
    "parse_caption",
    "run_audit",
]
