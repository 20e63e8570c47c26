function mpc = two_bus
% Two buses, one line of 0.02 + j0.06 pu on 100 MVA: the voltage has a closed form.
mpc.version = '2';
mpc.baseMVA = 100;
mpc.bus = [
	1	3	0	0	0	0	1	1	0	110	1	1.1	0.9;
	2	1	0	0	0	0	1	1	0	110	1	1.1	0.9;
];
mpc.gen = [
	1	0	0	999	-999	1	100	1	999	-999;
];
mpc.branch = [
	1	2	0.02	0.06	0	120	0	0	0	0	1;
];
