"""The interactive prompt. Nothing else imports prompt_toolkit."""
