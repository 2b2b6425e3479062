drop table bill_attempts;
drop table bills;
drop function bill_moves_forward_only;
drop function finished_bill_never_changes;
