drop table bills;
drop function finished_bill_never_changes;
