"""Every setting, and the settings that need parsing."""
