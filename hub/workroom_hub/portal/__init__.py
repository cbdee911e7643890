"""The pages people see every morning: their servers, and for admins everyone's."""
