"""An account → a file that a sync takes back without a single write.

::

    gateway.contacts() ──pages──▶ Spool (a temporary file) ──▶ Writer ──▶ .NAME.….part ──rename──▶ FILE
                                   which columns, which types       └──▶ the journal: each row as the account has it

The account is listed once. The columns are known only when the last contact is, so contacts wait in a temporary file,
and memory does not grow with the account. The file appears under its name when it is complete. With a journal, each row
is noted as sent, so a sync of the file sends only the rows that were changed since.
"""

from aelyst_async.export.exporting import ExportError, ExportProgress, ExportReport, export_contacts

__all__ = ["ExportError", "ExportProgress", "ExportReport", "export_contacts"]
