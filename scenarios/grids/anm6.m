function mpc = anm6
% 6-bus distribution network of gym-anm's ANM6 task, 132/33 kV: R. Henry, D. Ernst, Gym-ANM: Reinforcement learning
% environments for active network management tasks in electricity distribution systems, Energy and AI 5, 2021, 100092.
% Values from gym-anm 2.0.1 (MIT licence), gym_anm/envs/anm6_env/network.py. Buses are named as there, 0 to 5; loads,
% generators and the storage are devices of the scenario (scenarios/anm6_easy.yaml). The branch to the external grid
% is a transformer of ratio 1. Ratings are apparent power, at the larger of both ends.

mpc.version = '2';

mpc.baseMVA = 100;

%	bus_i type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin
mpc.bus = [
	1	3	0	0	0	0	1	1	0	132	1	1	1;
	2	1	0	0	0	0	1	1	0	33	1	1.1	0.9;
	3	1	0	0	0	0	1	1	0	33	1	1.1	0.9;
	4	1	0	0	0	0	1	1	0	33	1	1.1	0.9;
	5	1	0	0	0	0	1	1	0	33	1	1.1	0.9;
	6	1	0	0	0	0	1	1	0	33	1	1.1	0.9;
];

%	bus Pg Qg Qmax Qmin Vg mBase status Pmax Pmin
mpc.gen = [
	1	0	0	200	-200	1	100	1	200	-200;
];

%	fbus tbus r x b rateA rateB rateC ratio angle status angmin angmax
mpc.branch = [
	1	2	0.0036	0.1834	0	32	0	0	1	0	1	-360	360;
	2	3	0.03	0.022	0	25	0	0	0	0	1	-360	360;
	2	4	0.0307	0.0621	0	18	0	0	0	0	1	-360	360;
	3	5	0.0303	0.0611	0	18	0	0	0	0	1	-360	360;
	3	6	0.0159	0.0502	0	18	0	0	0	0	1	-360	360;
];

mpc.bus_name = {
	'0';
	'1';
	'2';
	'3';
	'4';
	'5';
};
