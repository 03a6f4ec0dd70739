"""Checks simulated clips: are their captions true, and is their content balanced? Run `python -m
tools.caption_audit`.

The audit parses every caption (`parser`, with its own word tables in `grammar` and `noun_phrases`) and checks
every statement against the measurements (`event_checks`, `environment_checks`). It shares no code with the
events that make the claims or with the caption generator. It also counts outcomes, checks that the main
object is in view at the event, and measures the smallest named object and the variety of the captions.
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
