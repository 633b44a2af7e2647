"""The dashboard's views, one file each: `ROUTES`, and `NAV` where the view is in the menu."""
