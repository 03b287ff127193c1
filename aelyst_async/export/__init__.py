"""Export of an account to a file. A sync of the unchanged file writes nothing.

::

    gateway.contacts() ──pages──▶ Spool (a temporary file) ──▶ Writer ──▶ .NAME.….part ──rename──▶ FILE
                                   which columns, which types       └──▶ the journal: each row as the account has it

The account is listed once. The columns are known only after the last contact, so contacts are kept in a temporary file,
and memory use does not grow with the account. The file gets its name when it is complete. With a journal, each row is
recorded as sent, so a sync of the file sends only the rows that were changed since.
"""

from aelyst_async.export.exporting import ExportError, ExportProgress, ExportReport, export_contacts

__all__ = ["ExportError", "ExportProgress", "ExportReport", "export_contacts"]
