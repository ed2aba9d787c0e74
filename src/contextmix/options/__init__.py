"""What can be asked for: every option once, with its type, default, check and help text.

Python calls, the command line and the server's page take them from here. Not what is done with them.
"""
